package refusal

import (
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
)

// Object is what the remedy for a refused object depends on.
type Object struct {
	Kind, Namespace string
	// Size is how many bytes were sent.
	Size int
	// Forced is true when it may be deleted and made anew, and was not.
	Forced bool
}

// Remedy returns what people can do so that the API server takes the object, or ""
// when its message says all there is to say.
func Remedy(err error, o Object) string {
	text := ends(err.Error())
	if fixed(text) {
		return anew(o)
	}
	for _, r := range remedies {
		if found := r.match.FindStringSubmatch(text); found != nil {
			return r.say(o, found)
		}
	}
	switch {
	case meta.IsNoMatchError(err):
		return "check apiVersion and kind; a custom resource needs its CustomResourceDefinition: add it to this Kustomization, " +
			"or name the Kustomization that has it in spec.dependsOn"
	case apierrors.IsForbidden(err):
		return "change the object as the message asks, or the rule that forbids it"
	}
	return ""
}

// unchangeable are the words for a field that cannot be changed.
var unchangeable = regexp.MustCompile(`immutable|may not change once set|cannot change roleRef|` +
	`updates to .* (is|are) forbidden|updates may not change|may not be changed|cannot be changed|` +
	`(is|are) not allowed to (be )?change`)

// fixed reports whether a message says that a field cannot be changed.
func fixed(text string) bool { return unchangeable.MatchString(text) }

const (
	force = "set spec.force: true on the Kustomization, or annotate the object with kustomize.toolkit.fluxcd.io/force: enabled"
	again = ", which deletes it and makes it anew"
)

// anew is the remedy for a field that cannot be changed.
func anew(o Object) string {
	if o.Forced {
		return "it may be made anew (force), but is kept, for the API server did not agree to take the new one in its place"
	}
	switch o.Kind {
	case "PersistentVolumeClaim", "PersistentVolume":
		return "put the old value back in Git, or copy the data to one of another name. To LOSE THE DATA, " + force + again
	case "CustomResourceDefinition":
		return "put the old value back in Git. To LOSE ALL OBJECTS of that kind, " + force + again
	case "Job":
		return force + again + " and runs it again; or give it another name"
	}
	return force + again + "; or put the old value back in Git"
}

// remedies are asked in order.
var remedies = []struct {
	match *regexp.Regexp
	say   func(o Object, found []string) string
}{
	{regexp.MustCompile(`Request entity too large: limit is (\d+)|may not be more than (\d+) bytes|(etcdserver: request is too large)`), tooLarge},
	{regexp.MustCompile(`namespaces "([^"]+)" not found`), func(_ Object, found []string) string {
		return fmt.Sprintf("add Namespace %s to this Kustomization, create it, or name the Kustomization that makes it in spec.dependsOn", found[1])
	}},
	{regexp.MustCompile(`could not find the requested resource`), func(o Object, _ []string) string {
		if o.Namespace != "" {
			return ""
		}
		return "give it metadata.namespace in Git, or set spec.targetNamespace on the Kustomization"
	}},
	{regexp.MustCompile(`because it is being terminated`), func(o Object, _ []string) string {
		return fmt.Sprintf("namespace %s is being deleted: wait until it is gone, and see what its finalizers wait for if it does not go", o.Namespace)
	}},
	{regexp.MustCompile(`User "([^"]+)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?`), forbidden},
	{regexp.MustCompile(`attempting to grant RBAC permissions not currently held|cannot (?:bind|escalate)`), func(Object, []string) string {
		return "who applies must hold the rights that it gives, or the verbs bind and escalate: grant them, or apply it with another spec.serviceAccountName"
	}},
	{regexp.MustCompile(`exceeded quota: ([^,\s]+)`), func(o Object, found []string) string {
		return fmt.Sprintf("raise ResourceQuota %s in namespace %s, or ask for less", found[1], o.Namespace)
	}},
	{regexp.MustCompile(`failed calling webhook "([^"]+)"`), func(_ Object, found []string) string {
		return fmt.Sprintf("the webhook does not answer: bring back the service behind it, or delete webhook %s "+
			"from its ValidatingWebhookConfiguration or MutatingWebhookConfiguration if nothing serves it any more", found[1])
	}},
	{regexp.MustCompile(`admission webhook "([^"]+)" denied the request`), func(_ Object, found []string) string {
		return fmt.Sprintf("change the object as webhook %s asks, or exempt it there", found[1])
	}},
	{regexp.MustCompile(`ValidatingAdmissionPolicy '([^']+)' with binding '([^']+)' denied request`), func(_ Object, found []string) string {
		return fmt.Sprintf("change the object as policy %s asks, or exempt it in binding %s", found[1], found[2])
	}},
	{regexp.MustCompile(`illegal base64 data`), func(o Object, _ []string) string {
		if o.Kind == "Secret" {
			return "values of data must be base64: encode them, or write them in plain under stringData"
		}
		return "the value must be base64"
	}},
	{regexp.MustCompile(`\.(?:data|stringData)\.\S+: expected string`), func(Object, []string) string {
		return "quote the value in Git, for values must be strings"
	}},
	{regexp.MustCompile(`field not declared in schema`), func(Object, []string) string {
		return "check how the field is spelled and indented, and that this apiVersion has it"
	}},
	{regexp.MustCompile(`metadata\.name: .*must be no more than (\d+) (?:characters|bytes)`), func(_ Object, found []string) string {
		return fmt.Sprintf("use a name of at most %s characters; namePrefix and nameSuffix count", found[1])
	}},
}

// tooLarge is the remedy for an object that the API server or its store has no room for.
func tooLarge(o Object, found []string) string {
	limit := "the API server's store takes about 1.5 MiB by default"
	for _, bytes := range found[1:3] {
		if bytes != "" {
			limit = "the limit is " + bytes
		}
	}
	return fmt.Sprintf("it has %d bytes and %s: split it, or keep the large data elsewhere, as in an OCI artifact or a volume "+
		"(server-side apply adds no last-applied annotation)", o.Size, limit)
}

// forbidden is the remedy for a right that is missing: who needs which.
func forbidden(_ Object, found []string) string {
	user, verb, resource, group, namespace := found[1], found[2], found[3], found[4], found[5]
	who := "user " + user
	if account, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		who = "service account " + strings.Replace(account, ":", "/", 1)
	}
	what := resource
	if group != "" {
		what += "." + group
	}
	where := "in the cluster, with a ClusterRole and ClusterRoleBinding"
	if namespace != "" && resource != "namespaces" { // which the API server takes to be in themselves
		where = fmt.Sprintf("in namespace %s, with a Role and RoleBinding", namespace)
	}
	return fmt.Sprintf("let %s %s %s %s; applying needs get, list, watch, create, patch and, to prune, delete", who, verb, what, where)
}
