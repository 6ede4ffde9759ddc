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
		if n := len(list[0].Message); n < maxMessage-8 || n > maxMessage+48 {
			t.Errorf("after %d bytes: %d bytes are left", shift, n)
		}
	}
}

func TestCredentialsAreNotInStatuses(t *testing.T) {
	var list []metav1.Condition
	for _, message := range []string{"cannot read https://me:hunter2@example.com/", strings.Repeat("n", maxMessage-20) + " https://me:hunter2@example.com/"} {
		Conditions{List: &list}.Set(ConditionReady, metav1.ConditionFalse, "Failed", message)
		if got := list[0].Message; strings.Contains(got, "hunt") {
			t.Errorf("got …%s", got[max(len(got)-100, 0):])
		}
	}
}
