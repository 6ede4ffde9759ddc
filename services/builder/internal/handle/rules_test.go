package handle

import (
	"testing"
	"time"
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
