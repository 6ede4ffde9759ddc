package handle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

func wanted(namespace, name, road string) visit {
	return visit{host: "git.example", road: road, key: events.NewKey("GitRepository", namespace, name)}
}

// Places of a host that never answers, of 4 for each road: who gets how many.
func TestPlacesOfAHost(t *testing.T) {
	for why, c := range map[string]struct {
		// come are <namespace>/<road> of passes that come, in this order, and never end.
		come string
		want string // how many are let in, in the order of the first that came
	}{
		"one road has its share":                        {strings.Repeat("a/proxy ", 20), "a/proxy 4"},
		"another proxy is another road":                 {strings.Repeat("a/proxy ", 20) + "a/direct a/direct a/direct", "a/proxy 4 a/direct 2"},
		"another namespace has a share":                 {strings.Repeat("a/proxy ", 20) + strings.Repeat("b/direct ", 20), "a/proxy 4 b/direct 3"},
		"many roads of one namespace leave places":      {strings.Repeat("a/1 a/2 a/3 a/4 a/5 ", 9) + "b/direct b/direct", "a/1 2 a/2 1 a/3 1 a/4 1 a/5 1 b/direct 2"},
		"two namespaces that stall leave one a third's": {strings.Repeat("a/proxy ", 20) + strings.Repeat("b/proxy ", 20) + "c/direct", "a/proxy 4 b/proxy 3 c/direct 1"},
		"all together are bounded":                      {strings.Repeat("a/ b/ c/ d/ e/ f/ g/ h/ i/ j/ k/ ", 9), "a/ 1 b/ 1 c/ 1 d/ 1 e/ 1 f/ 1 g/ 1 h/ 1"},
	} {
		h := hosts{places: 4}
		count := map[string]int{}
		var order []string
		for n, from := range strings.Fields(c.come) {
			namespace, road, _ := strings.Cut(from, "/")
			done, wait := h.enter(wanted(namespace, fmt.Sprint(n), road), time.Now())
			if (done == nil) != (wait > 0) {
				t.Fatalf("%s: done is nil: %t, and it shall wait for %s", why, done == nil, wait)
			}
			if done == nil {
				continue
			}
			if count[from]++; count[from] == 1 {
				order = append(order, from)
			}
		}
		var got []string
		for _, from := range order {
			got = append(got, fmt.Sprintf("%s %d", from, count[from]))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: let in %s, want %s", why, strings.Join(got, " "), c.want)
		}
	}
}

// pacing plays passes of one host, which end at once, against a clock.
type pacing struct {
	hosts hosts
	now   time.Time
	due   map[time.Duration][]visit // when they come
	began map[events.Key]time.Duration
}

func newPacing(rate int) *pacing {
	return &pacing{
		hosts: hosts{places: 1000, every: time.Second / time.Duration(rate)}, now: time.Now(),
		due: map[time.Duration][]visit{}, began: map[events.Key]time.Duration{},
	}
}

// run lets pass what comes in a time, each ten milliseconds.
func (p *pacing) run(length time.Duration) {
	const tick = 10 * time.Millisecond
	for at := time.Duration(0); at <= length; at += tick {
		for _, v := range p.due[at] {
			done, wait := p.hosts.enter(v, p.now.Add(at))
			if done == nil {
				again := at + max(tick, (wait+tick-1).Truncate(tick))
				p.due[again] = append(p.due[again], v)
				continue
			}
			p.began[v.key] = at
			done()
		}
	}
}

// most is how many began in the busiest second.
func (p *pacing) most() int {
	var all []time.Duration
	for _, at := range p.began {
		all = append(all, at)
	}
	slices.Sort(all)
	most, first := 0, 0
	for n, at := range all {
		for at-all[first] >= time.Second {
			first++
		}
		most = max(most, n-first+1)
	}
	return most
}

func TestAThousandSourcesAMinuteDoNotWait(t *testing.T) {
	p := newPacing(30)
	for n := range 1000 {
		at := (time.Duration(n) * time.Minute / 1000).Truncate(10 * time.Millisecond)
		p.due[at] = append(p.due[at], wanted("a", fmt.Sprint(n), ""))
	}
	due := map[events.Key]time.Duration{}
	for at, visits := range p.due {
		for _, v := range visits {
			due[v.key] = at
		}
	}
	p.run(time.Minute)
	for key, at := range due {
		if began, ok := p.began[key]; !ok || began != at {
			t.Fatalf("%s began at %s, %t, and came at %s", key, began, ok, at)
		}
	}
}

func TestWhoComesTogetherIsSpread(t *testing.T) {
	p := newPacing(30)
	for n := range 1000 {
		p.due[0] = append(p.due[0], wanted("a", fmt.Sprint(n), ""))
	}
	quiet, push := wanted("b", "quiet", ""), wanted("a", "push", "")
	push.urgent = true
	p.due[10*time.Second] = []visit{quiet, push}
	p.run(time.Minute)
	var last time.Duration
	for _, at := range p.began {
		last = max(last, at)
	}
	if len(p.began) != 1002 || last < 30*time.Second || last > 40*time.Second {
		t.Errorf("%d began, the last after %s", len(p.began), last)
	}
	if most := p.most(); most > 2*30+5 {
		t.Errorf("%d began in one second", most)
	}
	if waited := p.began[push.key] - 10*time.Second; waited != 0 {
		t.Errorf("a push waited for %s", waited)
	}
	if waited := p.began[quiet.key] - 10*time.Second; waited > 500*time.Millisecond {
		t.Errorf("another namespace waited for %s", waited)
	}
}

// Of namespaces that want more than there is none gets nothing, though another one's passes
// waited before.
func TestNamespacesShareTheRate(t *testing.T) {
	p := newPacing(30)
	for _, namespace := range []string{"a", "b", "c"} {
		for n := range 300 {
			p.due[0] = append(p.due[0], wanted(namespace, fmt.Sprint(n), ""))
		}
	}
	p.run(16 * time.Second)
	count := map[string]int{}
	for key := range p.began {
		count[key.Namespace]++
	}
	all := 0
	for namespace, n := range count {
		if all += n; n < 75 {
			t.Errorf("%d of namespace %s began in the time for 160: %v", n, namespace, count)
		}
	}
	if len(count) != 3 || all > (16+2)*30 {
		t.Errorf("%d began in the time for 480: %v", all, count)
	}
}

// What is over is forgotten.
func TestHostsAreForgotten(t *testing.T) {
	var h hosts
	h.places, h.every = 1, time.Millisecond
	before := time.Now().Add(-time.Hour)
	done, _ := h.enter(wanted("a", "first", ""), before)
	if other, wait := h.enter(wanted("a", "second", ""), before); other == nil && wait == 0 {
		t.Error("neither let in nor told to wait")
	} else if other != nil {
		other()
	}
	done()
	again, _ := h.enter(wanted("a", "second", ""), before.Add(time.Minute))
	again()
	if len(h.byName) != 0 {
		t.Errorf("%d hosts are remembered", len(h.byName))
	}
}

// What ends at once, and what waited and never came again, is forgotten when another host is asked.
func TestHostsThatNobodyAsksAreForgotten(t *testing.T) {
	h := hosts{places: 1, every: time.Minute}
	before := time.Now()
	for n := range 3 {
		v := wanted("a", "one", "")
		v.host = fmt.Sprintf("%d.example", n)
		done, _ := h.enter(v, before)
		v.key.Name = "deleted meanwhile"
		if other, wait := h.enter(v, before); other != nil || wait == 0 {
			t.Error("a second one has a place")
		}
		done()
	}
	if len(h.byName) != 3 {
		t.Fatalf("%d hosts are remembered while the pace of each counts", len(h.byName))
	}
	done, _ := h.enter(wanted("a", "another", ""), before.Add(time.Hour))
	defer done()
	if len(h.byName) != 1 {
		t.Errorf("%d hosts are remembered, want the one that is asked", len(h.byName))
	}
}

// A push that had no place ends after everything else, and takes nothing of who came since.
func TestLatePushLeavesPlacesAlone(t *testing.T) {
	h := hosts{places: 1}
	push := wanted("a", "push", "")
	push.urgent = true
	first, _ := h.enter(wanted("a", "first", ""), time.Now())
	late, _ := h.enter(push, time.Now()) // there is no place for it
	first()
	second, _ := h.enter(wanted("a", "second", ""), time.Now())
	defer second()
	late()
	if third, _ := h.enter(wanted("a", "third", ""), time.Now()); third != nil {
		t.Error("two passes have the place of one")
	}
}

// However many pushes come from one namespace, the others of the host have their turns.
func TestPushesStarveNobody(t *testing.T) {
	p := newPacing(30)
	for at := time.Duration(0); at <= 10*time.Second; at += 10 * time.Millisecond {
		push := wanted("a", fmt.Sprint(at), "")
		push.urgent = true
		p.due[at] = append(p.due[at], push)
	}
	for n := range 60 {
		p.due[5*time.Second] = append(p.due[5*time.Second], wanted("b", fmt.Sprint(n), ""))
	}
	p.run(10 * time.Second)
	count := map[string]int{}
	for key := range p.began {
		count[key.Namespace]++
	}
	if count["a"] != 1001 || count["b"] != 60 {
		t.Errorf("%v began, want all pushes and the 60 others, who have five seconds", count)
	}
}

// A pass that asks a host again and again counts once, and gives its places back at its end.
func TestAPassCountsOnceAtAHost(t *testing.T) {
	h := &Handler{hosts: hosts{places: 1}}
	check := bus.Check{Key: events.NewKey("HelmChart", "a", "one")}
	ctx, done := h.Asking(t.Context(), check)
	for _, host := range []string{"one.example", "two.example", "one.example", ""} {
		if err := source.Ask(ctx, host, ""); err != nil {
			t.Errorf("%q: %v", host, err)
		}
	}
	other, end := h.Asking(t.Context(), bus.Check{Key: events.NewKey("HelmChart", "a", "other")})
	defer end()
	var later *source.LaterError
	if err := source.Ask(other, "one.example", ""); !errors.As(err, &later) || later.Wait <= 0 {
		t.Errorf("another pass: %v, want that it comes later", err)
	}
	done()
	if err := source.Ask(other, "two.example", ""); err != nil {
		t.Errorf("after the end of the first: %v", err)
	}
}
