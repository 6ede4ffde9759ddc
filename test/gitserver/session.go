package gitserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// session serves the one command of an SSH session.
func (s *SSHServer) session(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	protocol := ""
	for request := range requests {
		switch request.Type {
		case "env":
			var variable struct{ Name, Value string }
			known := ssh.Unmarshal(request.Payload, &variable) == nil && variable.Name == "GIT_PROTOCOL"
			if known {
				protocol = variable.Value
			}
			answer(request, known)
		case "exec":
			answer(request, true)
			status := s.execute(ctx, channel, request.Payload, protocol)
			// A client that has gone does not need the status.
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			return
		default:
			answer(request, false)
		}
	}
}

// answer replies to a request; when that fails the connection is gone and the session ends by itself.
func answer(request *ssh.Request, ok bool) {
	if request.WantReply {
		_ = request.Reply(ok, nil)
	}
}

// execute runs git upload-pack on the repository that the client's command names
// and returns the exit status.
func (s *SSHServer) execute(ctx context.Context, channel ssh.Channel, payload []byte, protocol string) uint32 {
	repo, err := requestedRepo(payload)
	if err != nil {
		fmt.Fprintln(channel.Stderr(), err)
		return 128
	}
	s.store.count(repo, func(c *Counts) { c.Visits++ })
	cmd := exec.CommandContext(ctx, "git", "upload-pack", filepath.Join(s.store.folder, repo+".git"))
	cmd.Env = append(environment(), "GIT_PROTOCOL="+protocol)
	input := &fetchWatcher{from: channel, seen: func() { s.store.count(repo, func(c *Counts) { c.Fetches++ }) }}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		fmt.Fprintln(channel.Stderr(), err)
		return 128
	}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(channel.Stderr(), err)
		return 128
	}
	go func() {
		// Ends when the client closes its side or the program its input; neither is an error here.
		_, _ = io.Copy(stdin, input)
		stdin.Close()
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return uint32(exit.ExitCode())
	}
	if err != nil {
		return 128
	}
	return 0
}

// requestedRepo reads the command git sends: git-upload-pack '/name.git'.
func requestedRepo(payload []byte) (string, error) {
	var command struct{ Text string }
	if err := ssh.Unmarshal(payload, &command); err != nil {
		return "", fmt.Errorf("read command: %w", err)
	}
	path, ok := strings.CutPrefix(command.Text, "git-upload-pack ")
	if !ok {
		return "", fmt.Errorf("command %q is not served", command.Text)
	}
	repo := strings.TrimSuffix(strings.TrimPrefix(strings.Trim(path, "'"), "/"), ".git")
	if !filepath.IsLocal(repo) {
		return "", fmt.Errorf("repository %q not found", repo)
	}
	return repo, nil
}

// fetchWatcher passes a client's input on and tells when it first asks for objects:
// with a want line (protocols v0 and v1) or the command fetch (v2).
type fetchWatcher struct {
	from io.Reader
	seen func()
	tail []byte
	done bool
}

func (w *fetchWatcher) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	if w.done {
		return n, err
	}
	text := append(w.tail, p[:n]...)
	if bytes.Contains(text, []byte("want ")) || bytes.Contains(text, []byte("command=fetch")) {
		w.done = true
		w.seen()
	}
	w.tail = bytes.Clone(text[max(0, len(text)-len("command=fetch")):])
	return n, err
}
