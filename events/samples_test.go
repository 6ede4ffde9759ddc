package events_test

import "github.com/sluice-gitops/sluice/events"

var (
	app     = events.NewKey("Kustomization", "apps", "podinfo")
	source  = events.NewKey("GitRepository", "flux-system", "fleet.main")
	service = events.ObjectRef{APIVersion: "v1", Kind: "Service", Namespace: "apps", Name: "podinfo"}
	role    = events.ObjectRef{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: "podinfo"}
)

const (
	uid      = "0b1f9a1e-6a54-4d0a-8f5d-3f1d1f3c2a10"
	revision = "main@sha1:6f9b8e0c1d2a3b4c5d6e7f8091a2b3c4d5e6f708"
	digest   = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

// samples returns one event's data of every type, every field set.
func samples() []events.Data {
	input := events.BuildInput{
		Cluster: "hub", Object: app, UID: uid, Revision: revision, SourceDigest: digest,
		OriginRevision: "v1.2.3@sha1:aa", SpecDigest: digest,
	}
	rendered := events.BuildRendered{
		BuildInput: input, RenderID: "c2f1", Render: "renders/hub/kustomization/apps/podinfo/c2f1", Head: "djE",
		Objects: 5, DurationMS: 12,
	}
	applied := events.Applied{Cluster: "hub", Object: app, UID: uid, Revision: revision, RenderID: "c2f1"}
	changes := []events.Change{{Object: service, Action: "configured"}, {Object: role, Action: "created"}}
	return []events.Data{
		events.HookReceived{
			Receiver: events.NewKey("Receiver", "flux-system", "github"), UID: uid, Provider: "github", Event: "push",
			Delivery: "72d3162e-cc78-11e3-81ab-4c9367dc0958", Resources: []events.Key{source}, ReceivedAt: "2026-01-02T03:04:05.000000006Z",
		},
		events.SourceChanged{
			Source: source, UID: uid, Revision: revision, PreviousRevision: "main@sha1:00", OriginRevision: "v1.2.3@sha1:aa",
			Digest: digest, Artifact: "artifacts/gitrepository/flux-system/fleet.main/9f86.tar.gz",
			Path: "gitrepository/flux-system/fleet.main/00.tar.gz", Size: 4096, Summary: "Größe ändern: 2 → 3 Replikate",
		},
		events.SourceFailed{Source: source, UID: uid, Reason: "GitOperationFailed", Message: "branch main not found", Stalled: true},
		rendered,
		events.BuildUnchanged{BuildRendered: rendered},
		events.BuildFailed{BuildInput: input, Reason: "BuildFailed", Message: "apps/podinfo/deployment.yaml: line 3: mapping values", Stalled: true},
		events.ApplyProgressing{Applied: applied, Attempt: "4HQX2K", Message: "Applying " + revision, Objects: []events.ObjectRef{service}},
		events.ApplySucceeded{Applied: applied, Changes: changes, Omitted: 7, DurationMS: 34},
		events.ApplyFailed{Applied: applied, Reason: "ReconciliationFailed", Message: "Service/apps/podinfo: field is immutable", Stalled: true, Changes: changes, Omitted: 7},
		events.Health{Applied: applied, Healthy: false, Message: "1 of 5 objects is not ready", Waiting: []events.ObjectRef{service}, Omitted: 7},
		events.DriftDetected{Applied: applied, Objects: []events.ObjectRef{service}, Differences: []events.Difference{{
			Object: service, Missing: true, Fields: []events.FieldDifference{{Path: "/spec/ports/0/port", Live: "81", Wanted: "80", Manager: "other-controller"}},
		}}, Omitted: 7},
		events.DriftCorrected{Applied: applied, Objects: []events.ObjectRef{service}, Omitted: 7, DurationMS: 56},
		events.DriftContested{
			Applied: applied, Contested: service, Fields: []string{"/spec/ports/0/port"}, Managers: []string{"other-controller"}, Reverts: 5, Ended: true,
		},
		events.Pruned{Applied: applied, Objects: []events.ObjectRef{role}, Omitted: 7},
	}
}
