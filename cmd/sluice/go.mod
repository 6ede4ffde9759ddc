module github.com/sluice-gitops/sluice/cmd/sluice

go 1.26.0

replace github.com/sluice-gitops/sluice/events => ../../events
replace github.com/sluice-gitops/sluice/internal => ../../internal
replace github.com/sluice-gitops/sluice/deploy => ../../deploy
replace github.com/sluice-gitops/sluice/test => ../../test
replace github.com/sluice-gitops/sluice/services/fetcher => ../../services/fetcher
replace github.com/sluice-gitops/sluice/services/builder => ../../services/builder
replace github.com/sluice-gitops/sluice/services/applier => ../../services/applier
replace github.com/sluice-gitops/sluice/services/webhook => ../../services/webhook
