package controlplane

import (
	"io"
	"os"
	"time"
)

// Options says what to start. The zero value is a whole control plane with two nodes.
type Options struct {
	// Progress receives what is being built and started; os.Stderr when nil.
	Progress io.Writer
	// Nodes is the number of simulated nodes; 2 when zero.
	Nodes int
	// NoNodes leaves out nodes and scheduler: pods stay pending.
	NoNodes bool
	// NoControllerManager leaves out the built-in controllers: no Deployments, no
	// garbage collection, namespaces never finish deleting. Service accounts are then not demanded of pods.
	NoControllerManager bool
	// RequestLog makes the API server write its audit log, for Requests. It costs
	// the API server a little for every request.
	RequestLog bool
	// KeepFolder leaves the folder with data and logs behind after Stop.
	KeepFolder bool
	// APIServerFlags are added to the API server's command line, as "--name=value".
	APIServerFlags []string
	// StartTimeout bounds the start without the build; one minute when zero.
	StartTimeout time.Duration
}

func (o Options) withDefaults() Options {
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	if o.NoNodes {
		o.Nodes = 0
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = time.Minute
	}
	return o
}
