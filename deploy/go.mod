module github.com/sluice-gitops/sluice/deploy

go 1.26.0
