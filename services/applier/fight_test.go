package applier_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
)

func fightCases() []testCase {
	return []testCase{
		{"fields", "a fight is told once, with the fields and who writes them; so is its end, and the next one", fightFields},
		{"secret", "no value of a Secret that is fought over is told", fightSecret},
		{"deleter", "somebody who deletes again and again has no name, but is told of", fightDeleter},
	}
}

// contests returns what the journal says about fights.
func (a *app) contests() []events.DriftContested {
	a.t.Helper()
	var all []events.DriftContested
	for _, e := range a.history() {
		if e.Type() != events.TypeDriftContested {
			continue
		}
		var data events.DriftContested
		if err := json.Unmarshal(e.Data(), &data); err != nil {
			a.t.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

// fight edits ConfigMap one again and again, each time after it was put back.
func (a *app) fight(rounds int) {
	a.t.Helper()
	for range rounds {
		a.setValue("one", "v", "foreign")
		a.holds("one", "1")
	}
}

func fightFields(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.fight(4)
	a.settled()
	if got := a.contests(); len(got) != 0 {
		t.Errorf("four edits are no fight yet: %+v", got)
	}
	a.fight(1)
	message := a.event("Warning", "ObjectContested", "ConfigMap/"+a.namespace+"/one was put back 5 times in a row").Message
	if !strings.Contains(message, `field manager "somebody" changes /data/v each time`) {
		t.Errorf("message is %q", message)
	}
	a.settled()
	got := a.contests()
	if len(got) != 1 || got[0].Contested.Name != "one" || !slices.Equal(got[0].Fields, []string{"/data/v"}) || !slices.Equal(got[0].Managers, []string{"somebody"}) || got[0].Reverts != 5 {
		t.Fatalf("contests are %+v", got)
	}
	a.fight(2)
	a.settled()
	if got := a.contests(); len(got) != 1 {
		t.Errorf("the fight was told again: %+v", got)
	}
	a.untilWithin(time.Minute, "the end is told", func() error {
		if got := a.contests(); len(got) == 0 || !got[len(got)-1].Ended || got[len(got)-1].Reverts != 7 {
			return fmt.Errorf("contests are %+v", got)
		}
		return nil
	})
	a.event("Normal", "ObjectContestEnded", "ConfigMap/"+a.namespace+"/one stays as it was put back")
	a.fight(5)
	a.until("another fight is told", func() error {
		if got := a.contests(); len(got) == 0 || got[len(got)-1].Ended {
			return fmt.Errorf("contests are %+v", got)
		}
		return nil
	})
}

func fightSecret(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build("apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: NS}\nstringData: {password: hunter2}\n")
	a.ready()
	for range 5 {
		secret := &corev1.Secret{}
		key := client.ObjectKey{Namespace: a.namespace, Name: "login"}
		if err := a.Get(t.Context(), key, secret); err != nil {
			t.Fatal(err)
		}
		before := secret.DeepCopy()
		secret.Data["password"] = []byte("swordfish")
		if err := a.Patch(t.Context(), secret, client.MergeFrom(before), client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
		a.until("the Secret is put back", func() error {
			err := a.Get(t.Context(), key, secret)
			if err == nil && string(secret.Data["password"]) != "hunter2" {
				err = fmt.Errorf("it holds another value")
			}
			return err
		})
	}
	event := a.event("Warning", "ObjectContested", "changes /data/password each time")
	told := fmt.Sprint(event, a.history())
	for _, value := range []string{"hunter2", "aHVudGVyMg", "swordfish", "c3dvcmRmaXNo"} {
		if strings.Contains(told, value) {
			t.Errorf("%s was told: %s", value, told)
		}
	}
}

func fightDeleter(t *testing.T, w *world) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	for range 5 {
		if err := a.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "one"}}); err != nil {
			t.Fatal(err)
		}
		a.holds("one", "1")
	}
	a.event("Warning", "ObjectContested", "somebody deletes it each time")
}
