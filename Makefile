# Targets are documented by the text after ##; `make help` prints it.

MODULES  := events internal deploy services/webhook services/fetcher services/builder services/applier cmd/sluice test
SERVICES := webhook fetcher builder applier
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X github.com/sluice-gitops/sluice/internal/launch.Version=$(VERSION)
REPOSITORY ?= sluice
TAG        ?= dev
DOCKER     ?= docker
# How many packages are tested side by side, and how long one may take.
P          ?= 2
TIMEOUT    ?= 30m
# Tested first, so that their slowest packages do not run alone at the end.
SLOWEST    := test services/applier services/fetcher
# Modules that hold state shared between goroutines.
RACE := services/applier services/fetcher services/builder services/webhook internal

.DEFAULT_GOAL := help
.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/sluice and the four services
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sluice ./cmd/sluice
	@for s in $(SERVICES); do echo "build bin/sluice-$$s"; \
		go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sluice-$$s ./services/$$s/cmd || exit 1; done

.PHONY: demo
demo: ## show it at work: install, push, drift, prune, a broken manifest (KEEP=1 stays up)
	cd test && go run ./demo

.PHONY: controlplane
controlplane: ## build the Kubernetes control plane for tests (minutes, once; then cached)
	cd test && go run ./controlplane/cmd/controlplane -build-only

.PHONY: test
test: controlplane ## run every test
	@go run ./test/run -p $(P) -timeout $(TIMEOUT) $(SLOWEST) $(filter-out $(SLOWEST),$(MODULES))

.PHONY: race
race: controlplane ## run the tests of what holds state with the race detector
	@go run ./test/run -race -p $(P) -timeout $(TIMEOUT) $(RACE)

.PHONY: chaos
chaos: controlplane ## kill services at random during 200 pushes, and 500 changes of sources (CHAOS_PUSHES, CHAOS_SOURCES, CHAOS_SEED)
	cd test && CHAOS_PUSHES=$${CHAOS_PUSHES:-200} CHAOS_SOURCES=$${CHAOS_SOURCES:-500} go test ./chaos -count=1 -v -timeout 40m

.PHONY: lint
lint: ## golangci-lint and govulncheck over every module
	tools/lint.sh $(MODULES)

.PHONY: bench
bench: ## measure (N=300 sets the number of Kustomizations, MEMORY=1 measures memory by objects, FAIRNESS=1 a push beside another tenant's, SOURCES=1000 sources in which nothing changes, HELM=300 Helm releases, PROFILE=folder keeps profiles)
	cd test && go run ./bench $(if $(N),-n $(N)) $(if $(MEMORY),-memory) $(if $(FAIRNESS),-fairness -rounds 20) $(if $(SOURCES),-sources $(SOURCES)) $(if $(HELM),-helm $(HELM)) $(if $(PROFILE),-profile $(abspath $(PROFILE))) $(if $(WRITE),-write)

.PHONY: verify
verify: ## build and vet each module alone, check that it is tidy, formatted and generated
	tools/verify.sh $(MODULES)

.PHONY: generate
generate: ## write generated files again: the CRDs
	deploy/crds/generate.sh

.PHONY: binaries
binaries: ## static binaries for the images, each module alone, in dist/
	@for s in $(SERVICES); do echo "build dist/sluice-$$s"; (cd services/$$s && \
		CGO_ENABLED=0 GOWORK=off go build -trimpath -ldflags '$(LDFLAGS)' -o ../../dist/sluice-$$s ./cmd) || exit 1; done
	@echo "build dist/sluice"; cd cmd/sluice && CGO_ENABLED=0 GOWORK=off go build -trimpath -ldflags '$(LDFLAGS)' -o ../../dist/sluice .

# Where systems keep the certificate authorities they trust; the first that is there is used.
CERTIFICATES := $(firstword $(wildcard $(SSL_CERT_FILE) /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem))

.PHONY: images
images: binaries ## container images of the four services and of sluice (needs docker)
	rm -rf dist/root && mkdir -p dist/root/tmp dist/root/var/lib/sluice dist/root/etc/ssl/certs
	cp -L "$(CERTIFICATES)" dist/root/etc/ssl/certs/ca-certificates.crt
	@for i in sluice $(addprefix sluice-,$(SERVICES)); do echo "image $(REPOSITORY)/$$i:$(TAG)"; \
		$(DOCKER) build -q --build-arg BINARY=$$i -t $(REPOSITORY)/$$i:$(TAG) . || exit 1; done

.PHONY: compose-test
compose-test: ## prove docker-compose.yaml with stand-ins of the third-party images (Debian; installs docker if missing)
	cd test && go run ./compose

.PHONY: clean
clean: ## remove what was built here
	rm -rf bin dist
