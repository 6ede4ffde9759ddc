package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
)

// TestAsk lets a builder ask an applier, each as the user that deploy/nats gives it: one of two
// appliers answers, and nobody else hears of question or answer.
func TestAsk(t *testing.T) {
	server := withUsers(t)
	connect := func(user string) *bus.Bus {
		return bustest.Connect(t, server, bus.Config{URL: server.URL(), Name: user, User: user, Password: password})
	}
	builder := connect("builder")
	key := events.NewKey("HelmRelease", "apps", "podinfo")
	subject := events.AskSubject("hub", key)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := builder.Ask(ctx, subject, []byte("anybody?")); !errors.Is(err, bus.ErrNobody) {
		t.Errorf("with nobody there the error is %v", err)
	}
	questions, answering := make(chan string, 10), make(chan error, 2)
	serving, stop := context.WithCancel(ctx)
	for range 2 {
		applier := connect("applier")
		go func() {
			answering <- applier.Answer(serving, events.AskFilter("hub"), "applier", func(_ context.Context, question []byte) []byte {
				questions <- string(question)
				return []byte("answer to " + string(question))
			})
		}()
	}
	listener := client(t, server, "audit", func(*nats.Conn, *nats.Subscription, error) {}) // it is refused
	overheard, err := listener.Conn().SubscribeSync("sluice.ask.>")
	if err != nil {
		t.Fatal(err)
	}
	var answer []byte
	for answer == nil {
		answer, err = builder.Ask(ctx, subject, []byte("first"))
		if err != nil && !errors.Is(err, bus.ErrNobody) { // which it is until they are subscribed
			t.Fatal(err)
		}
	}
	if string(answer) != "answer to first" {
		t.Errorf("the answer is %q", answer)
	}
	if first := <-questions; first != "first" || len(questions) != 0 {
		t.Errorf("heard %q, and %d more", first, len(questions))
	}
	if m, err := overheard.NextMsg(100 * time.Millisecond); err == nil {
		t.Errorf("audit heard %q", m.Data)
	}
	stop()
	for range 2 {
		if err := <-answering; err != nil {
			t.Error(err)
		}
	}
	if _, err := builder.Ask(ctx, subject, []byte("late")); err == nil || !strings.Contains(err.Error(), subject) {
		t.Errorf("when all have gone the error is %v", err)
	}
}

// TestAnswersShared answers a namespace although another one asks more than can be answered at once, and answers slowly.
func TestAnswersShared(t *testing.T) {
	server := bustest.Server(t)
	applier, builder := bustest.Connect(t, server, bus.Config{}), bustest.Connect(t, server, bus.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begun, release, ended := make(chan struct{}, 100), make(chan struct{}), make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	go func() {
		ended <- applier.Answer(serving, events.AskFilter("hub"), "applier", func(_ context.Context, question []byte) []byte {
			if string(question) == "slow" {
				begun <- struct{}{}
				<-release
			}
			return question
		})
	}()
	ask := func(namespace, question string) error {
		for {
			answer, err := builder.Ask(ctx, events.AskSubject("hub", events.NewKey("HelmRelease", namespace, "app")), []byte(question))
			if err == nil && string(answer) != question {
				err = errors.New("the answer is " + string(answer))
			}
			if !errors.Is(err, bus.ErrNobody) { // which it is until they are subscribed
				return err
			}
		}
	}
	if err := ask("busy", "first"); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 64)
	for range cap(answers) {
		go func() { answers <- ask("busy", "slow") }()
	}
	for range bus.AnswersEach {
		select {
		case <-begun:
		case <-ctx.Done():
			t.Fatal("too few are answered at once")
		}
	}
	if err := ask("quiet", "fast"); err != nil {
		t.Errorf("a namespace that asks one thing: %v", err)
	}
	if len(begun) > 0 {
		t.Errorf("more than %d questions of a namespace were answered at once", bus.AnswersEach)
	}
	close(release)
	for range cap(answers) {
		if err := <-answers; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestAnswerPanics goes on answering after a question that its handler panics at.
func TestAnswerPanics(t *testing.T) {
	server := bustest.Server(t)
	applier, builder := bustest.Connect(t, server, bus.Config{}), bustest.Connect(t, server, bus.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	go func() {
		ended <- applier.Answer(serving, events.AskFilter("hub"), "applier", func(_ context.Context, question []byte) []byte {
			if string(question) == "bad" {
				begun <- struct{}{}
				panic("the question is bad")
			}
			return question
		})
	}()
	subject := events.AskSubject("hub", events.NewKey("HelmRelease", "apps", "podinfo"))
	ask := func(ctx context.Context, question string) error {
		for {
			if _, err := builder.Ask(ctx, subject, []byte(question)); !errors.Is(err, bus.ErrNobody) { // which it is until they are subscribed
				return err
			}
		}
	}
	bad, give := context.WithCancel(ctx)
	unanswered := make(chan error, 1)
	go func() { unanswered <- ask(bad, "bad") }()
	<-begun
	for range 2 * bus.AnswersEach { // and it keeps no place
		if err := ask(ctx, "good"); err != nil {
			t.Fatal(err)
		}
	}
	give()
	if err := <-unanswered; !errors.Is(err, context.Canceled) {
		t.Errorf("the question that nobody can answer has error %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
