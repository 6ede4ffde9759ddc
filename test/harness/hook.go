package harness

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// HookPath returns the path a Receiver listens on: the hash of its token, name and namespace.
func HookPath(token, name, namespace string) string {
	sum := sha256.Sum256([]byte(token + name + namespace))
	return "/hook/" + hex.EncodeToString(sum[:])
}

// PushHook sends what GitHub sends after a push: a signed event for a branch and
// commit. It fails unless the answer is 200.
func PushHook(ctx context.Context, url, token, branch, commit string) error {
	body, err := json.Marshal(map[string]string{"ref": "refs/heads/" + branch, "after": commit})
	if err != nil {
		return fmt.Errorf("push hook: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("push hook: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write(body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-GitHub-Event", "push")
	request.Header.Set("X-GitHub-Delivery", commit)
	request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("push hook: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("push hook: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return &HookError{Status: response.StatusCode, Answer: strings.TrimSpace(string(text))}
	}
	return nil
}

// DeliverHook sends a hook until it is taken, as the flux CLI does: again when nobody
// answers, when the answer is a fault of the server's, and when the receiver is not known yet.
func DeliverHook(ctx context.Context, url, token, branch, commit string) error {
	var last error
	err := Until(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		last = PushHook(ctx, url, token, branch, commit)
		var refused *HookError
		if errors.As(last, &refused) && refused.Status < http.StatusInternalServerError && refused.Status != http.StatusNotFound {
			return false, last
		}
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// HookError is an answer to a hook other than 200.
type HookError struct {
	Status int
	Answer string
}

// Error says what the answer was.
func (e *HookError) Error() string {
	return fmt.Sprintf("push hook: %d %s: %s", e.Status, http.StatusText(e.Status), e.Answer)
}
