package controlplane

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// auditPolicy records who asked for what, and no content.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// Request is one request that the API server answered. A watch counts once, when it begins.
type Request struct {
	Time      time.Time
	User      string // such as system:serviceaccount:sluice:applier
	UserAgent string // whole, as the client sent it
	Verb      string // get, list, watch, create, update, patch, delete, …
	Group     string
	Resource  string // with its subresource after a slash; empty for paths that are no resource
	Namespace string
	Name      string
	Code      int32
}

func (c *ControlPlane) auditLog() string { return c.file("audit.log") }

// Requests returns the requests that arrived from a moment (inclusive) to another
// (exclusive), in the order they were answered. It needs Options.RequestLog.
func (c *ControlPlane) Requests(from, to time.Time) ([]Request, error) {
	if !c.options.RequestLog {
		return nil, errors.New("read requests: the control plane was started without RequestLog")
	}
	file, err := os.Open(c.auditLog())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read requests: %w", err)
	}
	defer file.Close()
	var requests []Request
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var entry auditEntry
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			break // the line that is being written just now
		}
		if entry.counts() && !entry.Received.Before(from) && entry.Received.Before(to) {
			requests = append(requests, entry.request())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read requests: %w", err)
	}
	return requests, nil
}

// auditEntry is the part of audit.k8s.io/v1 Event that is read.
type auditEntry struct {
	Stage     string    `json:"stage"`
	Verb      string    `json:"verb"`
	UserAgent string    `json:"userAgent"`
	Received  time.Time `json:"requestReceivedTimestamp"`
	User      struct {
		Username string `json:"username"`
	} `json:"user"`
	Object struct {
		Group       string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	Status struct {
		Code int32 `json:"code"`
	} `json:"responseStatus"`
}

// counts is true for one of the stages that a request is logged in: watches and
// their like are logged when they begin and again when they end.
func (e auditEntry) counts() bool {
	if e.Verb == "watch" {
		return e.Stage == "ResponseStarted"
	}
	return e.Stage == "ResponseComplete" || e.Stage == "Panic"
}

func (e auditEntry) request() Request {
	resource := e.Object.Resource
	if e.Object.Subresource != "" {
		resource += "/" + e.Object.Subresource
	}
	return Request{
		Time: e.Received, User: e.User.Username, UserAgent: e.UserAgent, Verb: e.Verb, Group: e.Object.Group,
		Resource: resource, Namespace: e.Object.Namespace, Name: e.Object.Name, Code: e.Status.Code,
	}
}
