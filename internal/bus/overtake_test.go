package bus

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/events"
)

// TestQueue serves what waits in one lane beside a namespace "full".
func TestQueue(t *testing.T) {
	flood := strings.Repeat("a ", overtakersEach+1) + "b"
	for _, c := range []struct {
		why       string
		put       string // namespaces, in the order of arrival; sequences from 1
		at        uint64 // the sequence that the lane delivers
		placeless string // a namespace that gets no worker
		want      string // namespaces, as they are served
	}{
		{"namespaces take turns", "a a a b c", 0, "", "a b c a a"},
		{"the one whose turn it is does not overtake itself", "full a full", 0, "", "a"},
		{"what the lane delivered is served", "a b c", 2, "", "c"},
		{"one without a worker is passed over", "a b a c", 0, "a", "b c"},
		{"one namespace has a limited share", flood, 0, "", strings.Join(append([]string{"a", "b"}, slices.Repeat([]string{"a"}, overtakersEach-1)...), " ")},
	} {
		t.Run(c.why, func(t *testing.T) {
			var q queue
			for i, namespace := range strings.Fields(c.put) {
				sequence := uint64(i + 1)
				key := events.NewKey("Kustomization", namespace, string(rune('a'+i)))
				q.put(overtaker{of: namespace, delivery: &delivery{sequence: sequence, subject: events.CheckSubject(events.StageApply, key)}})
			}
			q.pass(&delivery{sequence: c.at})
			place := func(namespace string) bool { return namespace != c.placeless }
			var got []string
			for d := q.next("full", place); d != nil; d = q.next("full", place) {
				got = append(got, d.namespace())
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("served %v, want %s", got, c.want)
			}
		})
	}
}

// A newer check takes the place of the older one of its key, and one that the lane
// has passed is not kept.
func TestQueueNewest(t *testing.T) {
	var q queue
	subject := events.CheckSubject(events.StageApply, events.NewKey("Kustomization", "a", "x"))
	put := func(sequence uint64) {
		q.put(overtaker{of: "a", delivery: &delivery{sequence: sequence, subject: subject}})
	}
	lane := func(sequence uint64) *delivery {
		q.pass(&delivery{sequence: sequence})
		return q.next("full", func(string) bool { return true })
	}
	put(5)
	put(7)
	put(6) // put back late
	if d := lane(1); d == nil || d.sequence != 7 {
		t.Errorf("got %+v, want the newer check", d)
	}
	lane(9)
	put(8)
	if d := lane(3); d != nil {
		t.Errorf("got %+v after the lane passed it", d)
	}
}
