package kube

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A message that is too long is stored as it was set, wherever it is cut.
func TestLongMessagesAreStoredAsTheyAreSet(t *testing.T) {
	for shift := range 4 {
		message := strings.Repeat("x", shift) + strings.Repeat("→", maxMessage)
		var list []metav1.Condition
		Conditions{List: &list}.Set(ConditionReady, metav1.ConditionFalse, "Failed", message)
		body, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var stored []metav1.Condition
		if err := json.Unmarshal(body, &stored); err != nil {
			t.Fatal(err)
		}
		if got, want := stored[0].Message, list[0].Message; got != want {
			t.Errorf("after %d bytes: %s", shift, cmp.Diff(want[len(want)-8:], got[len(got)-8:]))
		}
		if n := len(list[0].Message); n < maxMessage-8 || n > maxMessage+8 {
			t.Errorf("after %d bytes: %d bytes are left", shift, n)
		}
	}
}
