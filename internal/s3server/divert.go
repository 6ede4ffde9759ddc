package s3server

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
)

// colour is an escape sequence for terminals.
var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// divert leads what is printed to os.Stderr to a logger, line by line, until restore
// is called. Without a logger it does nothing.
func divert(log *slog.Logger) (restore func(), err error) {
	if log == nil {
		return func() {}, nil
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("lead the S3 server's messages to the log: %w", err)
	}
	before := os.Stderr
	os.Stderr = in
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if text := strings.TrimSpace(colour.ReplaceAllString(lines.Text(), "")); text != "" {
				log.Warn("S3 server", "message", text)
			}
		}
		_, _ = io.Copy(io.Discard, out) // after a line too long to log, so that nobody waits to print
	}()
	return func() {
		os.Stderr = before
		_ = in.Close() // nothing is buffered
		<-done
		_ = out.Close()
	}, nil
}
