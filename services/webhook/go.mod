module github.com/sluice-gitops/sluice/services/webhook

go 1.26.0

replace github.com/sluice-gitops/sluice/events => ../../events
replace github.com/sluice-gitops/sluice/internal => ../../internal
replace github.com/sluice-gitops/sluice/deploy => ../../deploy
replace github.com/sluice-gitops/sluice/test => ../../test
