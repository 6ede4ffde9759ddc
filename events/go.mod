module github.com/sluice-gitops/sluice/events

go 1.26.0

