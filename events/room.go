package events

import (
	"encoding/json"
	"fmt"
)

// MaxData is how many bytes the data of an event has at most, so that a message of NATS (1 MiB, headers included) has room
// for it. Lists of objects are cut to that; what is left out is counted.
const MaxData = 768 << 10

// lists is data with lists of objects.
type lists interface {
	Data
	// items is how many items there are, and first the data with so many of them.
	items() int
	first(items int) Data
}

// Encode returns data as an event carries it: as JSON, with lists that are too long cut.
func Encode(data Data) ([]byte, error) {
	body, err := json.Marshal(data)
	if long, ok := data.(lists); ok {
		for n := long.items(); err == nil && len(body) > MaxData && n > 0; {
			n = n * 7 / 8 // items differ in size, and as many as fit are to stay
			body, err = json.Marshal(long.first(n))
		}
	}
	if err == nil && len(body) > MaxData {
		err = fmt.Errorf("it has %d bytes, more than %d", len(body), MaxData)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", data.EventType(), err)
	}
	return body, nil
}

// cut returns no more than n items of a list, and how many more there are.
func cut[T any](list []T, n int) (first []T, omitted int) {
	n = min(n, len(list))
	return list[:n], len(list) - n
}

func (d ApplySucceeded) items() int { return len(d.Changes) }

func (d ApplySucceeded) first(n int) Data {
	d.Changes, d.Omitted = cut(d.Changes, n)
	return d
}

func (d ApplyFailed) items() int { return len(d.Changes) }

func (d ApplyFailed) first(n int) Data {
	d.Changes, d.Omitted = cut(d.Changes, n)
	return d
}

func (d Health) items() int { return len(d.Waiting) }

func (d Health) first(n int) Data {
	d.Waiting, d.Omitted = cut(d.Waiting, n)
	return d
}

func (d DriftDetected) items() int { return len(d.Objects) + len(d.Differences) }

// first leaves out differences before it leaves out objects.
func (d DriftDetected) first(n int) Data {
	d.Differences, _ = cut(d.Differences, max(n-len(d.Objects), 0))
	d.Objects, d.Omitted = cut(d.Objects, n)
	return d
}

func (d DriftCorrected) items() int { return len(d.Objects) }

func (d DriftCorrected) first(n int) Data {
	d.Objects, d.Omitted = cut(d.Objects, n)
	return d
}

func (d DriftContested) items() int { return len(d.Fields) }

func (d DriftContested) first(n int) Data {
	d.Fields, _ = cut(d.Fields, n)
	return d
}

func (d Pruned) items() int { return len(d.Objects) }

func (d Pruned) first(n int) Data {
	d.Objects, d.Omitted = cut(d.Objects, n)
	return d
}
