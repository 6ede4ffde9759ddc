package share

import (
	"context"
	"maps"
	"math"
	"net/http"
	"sync"
	"time"
)

const (
	// quietShare is how many times as much the busiest tenant must have done lately for
	// another one to go before it.
	quietShare = 4
	// busyCount is what a busy tenant began lately, at least: a push is far from it.
	busyCount = 32
	// memory is the half-life of what a tenant did.
	memory = time.Second
	// between is how long precedence outlasts a check, so that it holds until the next
	// stage has the one that follows.
	between = 50 * time.Millisecond
	// fullCredit is for how long precedence may last at a stretch; it comes back as fast
	// as it is used, so that busy tenants are held up for half of the time at most.
	fullCredit = time.Second
	// patience bounds one wait. A step that takes longer waits for something else than
	// processors, and does not count any more; nor does a quiet tenant's check for so
	// long after it began or had a step.
	patience = 250 * time.Millisecond
	// company is how long after tenants took turns more than one counts as there. It is
	// longer than the usual interval of ten minutes, at which every tenant is heard of.
	company = 15 * time.Minute
	// fewTenants are never too many to remember what they did.
	fewTenants = 1024
)

// Precedence lets the check of a tenant that did little lately go before the many of
// one that does much. Places (see Line) give a tenant its worker; what they cannot give
// is the processors, which the busy tenant's checks use meanwhile, and so does the API
// server because of their requests. While a check of a quiet tenant is in work, those of
// busy ones therefore pause at their next step, which is a check, a request or a build.
// Some may go on beside, and none waits for long. What is under way already cannot be
// paused and has to be waited for, so that busy tenants have only some steps under way at
// any time, unless there is just one tenant. It is safe for concurrent use.
type Precedence struct {
	beside int
	places *Line // of the steps of busy tenants

	mu     sync.Mutex
	last   string    // who began something last
	turned time.Time // when that was somebody else than before
	did    map[string]recent
	keep   int       // how many of did are kept before those of long ago are forgotten
	most   doer      // who did the most
	next   doer      // who did the most but for that one
	quiet  int       // checks of quiet tenants in work
	until  time.Time // precedence lasts until then
	looked time.Time // credit was right then
	credit time.Duration
	spent  bool
	steps  int           // steps of others under way
	moved  chan struct{} // closed when steps or quiet fell
}

// recent is how many checks and steps a tenant began, those of long ago counting less.
type recent struct {
	count float64
	at    time.Time
}

func (r recent) now(at time.Time) float64 {
	return r.count * math.Exp2(-float64(at.Sub(r.at))/float64(memory))
}

// doer is a tenant with what it did.
type doer struct {
	tenant string
	recent
}

// NewPrecedence returns one that lets so many steps of busy tenants be under way at once,
// which is at least one, and so many of them go on beside a quiet tenant's check.
func NewPrecedence(steps, beside int) *Precedence {
	return &Precedence{
		beside: beside, places: New(steps, steps), did: map[string]recent{}, keep: fewTenants,
		credit: fullCredit, looked: time.Now(), moved: make(chan struct{}),
	}
}

// turn is a check in work, as its context knows it.
type turn struct {
	of     *Precedence
	tenant string
	quiet  bool
}

type turnKey struct{}

// Begin begins a check of a tenant, of a busy one when it may. The context is for its
// steps; end must be called once.
func (p *Precedence) Begin(ctx context.Context, tenant string) (_ context.Context, end func()) {
	p.mu.Lock()
	now := time.Now()
	quiet := p.isQuiet(tenant, now)
	p.count(tenant, now)
	if quiet {
		p.extend(now, patience)
		p.quiet++
	}
	p.mu.Unlock()
	t := &turn{of: p, tenant: tenant, quiet: quiet}
	ctx = context.WithValue(ctx, turnKey{}, t)
	if quiet {
		return ctx, p.leave
	}
	Step(ctx)()
	return ctx, func() {}
}

// Step begins a step of the check that ctx belongs to, when it may; done ends it. For
// other contexts it does nothing.
func Step(ctx context.Context) (done func()) {
	t, ok := ctx.Value(turnKey{}).(*turn)
	if !ok {
		return func() {}
	}
	if t.quiet {
		t.of.mu.Lock()
		defer t.of.mu.Unlock()
		now := time.Now()
		t.of.count(t.tenant, now)
		t.of.extend(now, patience)
		return func() {}
	}
	return t.of.step(ctx, t.tenant)
}

func (p *Precedence) step(ctx context.Context, tenant string) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	last := now.Add(patience)
	p.count(tenant, now)
	leave := func() {}
	if now.Sub(p.turned) < company {
		p.mu.Unlock()
		leave = p.enter(ctx, tenant)
		p.mu.Lock()
		now = time.Now()
	}
	for ; now.Before(last) && ctx.Err() == nil; now = time.Now() {
		wait := p.lasts(now)
		if wait <= 0 || p.steps < p.beside {
			break
		}
		moved := p.moved
		p.mu.Unlock()
		t := time.NewTimer(min(wait, last.Sub(now)))
		select {
		case <-moved:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		p.mu.Lock()
	}
	p.steps++
	ended := sync.OnceFunc(func() {
		leave()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.steps--
		p.tell()
	})
	long := time.AfterFunc(patience, ended)
	return func() {
		long.Stop()
		ended()
	}
}

// enter waits for a place among the steps under way, though not for long.
func (p *Precedence) enter(ctx context.Context, tenant string) (leave func()) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if p.places.Enter(ctx, tenant) != nil {
		return func() {}
	}
	return func() { p.places.Leave(tenant) }
}

// Expect says that a check of a tenant is about to come: if it is a quiet one,
// precedence begins now.
func (p *Precedence) Expect(tenant string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.isQuiet(tenant, now) {
		return
	}
	p.extend(now, between)
}

// extend lets precedence last for a while from now, at least.
func (p *Precedence) extend(now time.Time, while time.Duration) {
	p.settle(now)
	if until := now.Add(while); until.After(p.until) {
		p.until = until
	}
}

// leave ends a check of a quiet tenant.
func (p *Precedence) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.settle(now)
	if p.quiet--; p.quiet == 0 {
		p.until = now.Add(between)
		p.tell()
	}
}

// tell wakes whoever waits to look again.
func (p *Precedence) tell() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// lasts returns for how long quiet tenants have precedence if nothing changes; zero when
// they have none.
func (p *Precedence) lasts(now time.Time) time.Duration {
	p.settle(now)
	if p.spent {
		return 0
	}
	return max(0, min(p.credit, p.until.Sub(now)))
}

// settle brings the credit up to date. Once it is used up, all of it has to come back
// before it is given again.
func (p *Precedence) settle(now time.Time) {
	passed := now.Sub(p.looked)
	p.looked = now
	used := min(passed, max(0, p.until.Sub(now)+passed))
	if p.spent {
		used = 0
	}
	used = min(used, p.credit)
	p.spent = p.spent || used == p.credit
	p.credit = min(p.credit-used+(passed-used), fullCredit)
	p.spent = p.spent && p.credit < fullCredit
}

// count notes that a tenant began something. All that was done fades alike, so that who
// did the most changes only here.
func (p *Precedence) count(tenant string, now time.Time) {
	if tenant != p.last {
		if p.last != "" {
			p.turned = now
		}
		p.last = tenant
	}
	r := recent{count: p.did[tenant].now(now) + 1, at: now}
	p.did[tenant] = r
	d := doer{tenant, r}
	switch {
	case tenant == p.most.tenant:
		p.most = d
	case r.count > p.most.now(now):
		p.most, p.next = d, p.most
	case tenant == p.next.tenant || r.count > p.next.now(now):
		p.next = d
	}
	if len(p.did) > p.keep {
		p.forget(now)
	}
}

// forget drops the tenants that did nothing lately.
func (p *Precedence) forget(now time.Time) {
	const nothing = 0.01
	maps.DeleteFunc(p.did, func(_ string, r recent) bool { return r.now(now) < nothing })
	p.keep = max(fewTenants, 2*len(p.did))
}

// isQuiet says whether a tenant did little beside another one, which is busy.
func (p *Precedence) isQuiet(tenant string, now time.Time) bool {
	other := p.most
	if other.tenant == tenant {
		other = p.next
	}
	return max(busyCount, quietShare*(p.did[tenant].now(now)+1)) <= other.now(now)
}

// Transport makes every request a step of the check that its context belongs to.
func Transport(next http.RoundTripper) http.RoundTripper { return transport{next} }

type transport struct{ http.RoundTripper }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	defer Step(r.Context())()
	return t.RoundTripper.RoundTrip(r)
}

// WrappedRoundTripper lets Kubernetes' clients find what is below.
func (t transport) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }
