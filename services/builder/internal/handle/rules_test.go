package handle

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/internal/blob"
)

func TestOlder(t *testing.T) {
	tests := []struct {
		reason, have, seen string
		want               bool
	}{
		{"the same", "12", "12", false},
		{"nobody noted a version", "12", "", false},
		{"the watch is ahead", "100", "99", false},
		{"the watch is behind", "99", "100", true},
		{"numbers, not words, are compared", "9", "10", true},
		{"what is no number is looked up", "a", "10", true},
	}
	for _, tt := range tests {
		if got := older(tt.have, tt.seen); got != tt.want {
			t.Errorf("%s: got %v", tt.reason, got)
		}
	}
}

func TestKeepNewest(t *testing.T) {
	at := func(name string, hour int) blob.Object {
		return blob.Object{Name: name, Modified: time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)}
	}
	renders := []blob.Object{at("a", 1), at("b", 5), at("c", 3), at("d", 4), at("e", 2)}
	tests := []struct {
		reason, current string
		want            []string
	}{
		{"the current one is among the newest", "b", []string{"b", "c", "d"}},
		{"the current one is the oldest", "a", []string{"a", "b", "d"}},
		{"the current one is lost", "x", []string{"b", "d", "x"}},
	}
	for _, tt := range tests {
		var got []string
		for name := range KeepNewest(renders, tt.current) {
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.reason, diff)
		}
	}
}

func TestJitterStaysInItsShareAndIsStable(t *testing.T) {
	for _, uid := range []string{"a", "b", "c", "d"} {
		got := jitter(100*time.Second, 5, uid)
		if got < 95*time.Second || got > 105*time.Second || got != jitter(100*time.Second, 5, uid) {
			t.Errorf("%s: %v", uid, got)
		}
		if jitter(time.Minute, 0, uid) != time.Minute {
			t.Errorf("%s: no jitter was asked for", uid)
		}
	}
}
