module github.com/sluice-gitops/sluice/test/controlplane/binaries

go 1.26.0

