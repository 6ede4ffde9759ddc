package main

import (
	"net"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestLockFolder(t *testing.T) {
	dir := t.TempDir() + "/data"
	unlock, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockFolder(dir)
	if err == nil || !strings.Contains(err.Error(), dir+" is used by another sluice") || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("a folder in use: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := lockFolder(dir)
	if err != nil {
		t.Fatalf("a folder that was given back: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

// What is served without a password is for the same machine, unless somebody says otherwise.
func TestArtifactsStayOnLoopback(t *testing.T) {
	flag := runCommand().Flags().Lookup("artifact-addr")
	if flag.DefValue != "127.0.0.1:9090" || flag.Value.String() != flag.DefValue {
		t.Errorf("artifacts are served on %s, %s says the help", flag.Value, flag.DefValue)
	}
}

func TestCheckAddresses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := listener.Addr().String()
	spare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := spare.Addr().String()
	if err := spare.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		reason, nats, webhook string
		want                  []string
	}{
		{"all are free, or not wanted", "127.0.0.1:0", "", nil},
		{"one is taken", taken, "127.0.0.1:0", []string{"nats-addr " + taken + " is in use by another process", "--nats-addr"}},
		{"one for two of them", free, free, []string{"nats-addr and webhook-addr are both " + free}},
		{"two are wrong", taken, "nowhere", []string{"--nats-addr", "webhook-addr nowhere", "--webhook-addr"}},
	} {
		flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
		for _, name := range addressFlags {
			flags.String(name, "", "")
		}
		for name, value := range map[string]string{"nats-addr": c.nats, "webhook-addr": c.webhook} {
			if err := flags.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
		err := checkAddresses(t.Context(), flags)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.reason, err)
		}
		for _, words := range c.want {
			if err != nil && !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %q is not in: %v", c.reason, words, err)
			}
		}
	}
}
