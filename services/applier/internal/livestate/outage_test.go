package livestate_test

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"k8s.io/client-go/rest"
)

// line is a TCP connection to the API server that can be cut and mended.
type line struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newLine(t *testing.T, target string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &line{listener: l, target: target, conns: map[net.Conn]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.serve()
	}()
	t.Cleanup(func() {
		_ = l.Close() // ends serve; nothing is left to lose
		p.cut()
		<-done
	})
	return p
}

func (p *line) serve() {
	var pipes sync.WaitGroup
	defer pipes.Wait()
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil || !p.keep(in, out) {
			_ = in.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			pipes.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // ends with either side, which is the point
				_ = pair[0].Close()
				_ = pair[1].Close()
			})
		}
	}
}

func (p *line) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.down {
			_ = c.Close()
			continue
		}
		p.conns[c] = true
	}
	return !p.down
}

func (p *line) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *line) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

func TestWatchSurvivesAnOutage(t *testing.T) {
	address, err := url.Parse(server.Host)
	if err != nil {
		t.Fatal(err)
	}
	p := newLine(t, address.Host)
	through := rest.CopyConfig(server)
	through.Host = "https://" + p.listener.Addr().String()

	f := newFixtureOn(t, through, livestate.Options{})
	f.apply(web)
	f.quiet()
	p.cut()
	direct := f.ref("v1", "ConfigMap", "settings")
	gone := f.ref("v1", "Secret", "login")
	f.edit(direct, "tool", merge, `{"data":{"k":"x"}}`)
	config, err := cluster.New(server, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := config.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Delete(t.Context(), gone, ""); err != nil {
		t.Fatal(err)
	}
	p.mend()
	want := map[cluster.Ref]livestate.Why{direct: livestate.Changed, gone: livestate.Deleted}
	for len(want) > 0 {
		select {
		case c := <-f.drift:
			for _, n := range c.notices {
				if why, ok := want[n.Object]; ok && why == n.Why {
					delete(want, n.Object)
				}
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("not noticed after the outage: %v", want)
		}
	}
	f.apply(strings.TrimSpace(web))
	if dirty := f.table.Dirty(f.owner); len(dirty) > 0 {
		t.Errorf("still dirty: %v", dirty)
	}
}
