module github.com/sluice-gitops/sluice/test

go 1.26.0

replace github.com/sluice-gitops/sluice/events => ../events
replace github.com/sluice-gitops/sluice/internal => ../internal
replace github.com/sluice-gitops/sluice/deploy => ../deploy
