// Package notation verifies signatures of OCI artifacts by the trust policies of the
// Notary Project.
package notation

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	_ "github.com/notaryproject/notation-core-go/signature/cose" // an envelope of signatures
	_ "github.com/notaryproject/notation-core-go/signature/jws"  // the other one
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
)

const (
	// policyKey is the entry of a Secret that holds the trust policies.
	policyKey = "trustpolicy.json"
	// maxSignatures is how many signatures of an artifact are looked at.
	maxSignatures = 50
)

// Policy says who must have signed what.
type Policy struct{ verifier notation.Verifier }

// Parse reads the trust policies of a Secret, and the certificates that they trust: those of
// its *.crt and *.pem entries, whatever name a policy gives its trust store.
func Parse(data map[string][]byte) (*Policy, error) {
	text := data[policyKey]
	if len(text) == 0 {
		return nil, fmt.Errorf("it has no key '%s'", policyKey)
	}
	var document trustpolicy.Document
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("'%s' is no trust policy: %w", policyKey, err)
	}
	if err := document.Validate(); err != nil {
		return nil, fmt.Errorf("'%s' is no trust policy: %w", policyKey, err)
	}
	trusted, err := certificates(data)
	if err != nil {
		return nil, err
	}
	v, err := verifier.New(&document, trusted, nil)
	if err != nil {
		return nil, fmt.Errorf("'%s': %w", policyKey, err)
	}
	return &Policy{verifier: v}, nil
}

// store is a trust store that has the same certificates under every name.
type store []*x509.Certificate

// GetCertificates implements truststore.X509TrustStore.
func (s store) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return s, nil
}

func certificates(data map[string][]byte) (store, error) {
	var all store
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if !strings.HasSuffix(name, ".crt") && !strings.HasSuffix(name, ".pem") {
			continue
		}
		found := len(all)
		for rest := data[name]; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("'%s' is no certificate: %w", name, err)
			}
			all = append(all, certificate)
		}
		if len(all) == found {
			return nil, fmt.Errorf("'%s' is no certificate in PEM form", name)
		}
	}
	return all, nil
}

// Verify returns nil when the artifact with the digest is signed as its trust policy asks for;
// skipped is true when that asks for nothing.
func (p *Policy) Verify(ctx context.Context, repository *oci.Repository, digest string) (skipped bool, err error) {
	_, outcomes, err := notation.Verify(ctx, p.verifier, signatures{repository}, notation.VerifyOptions{
		ArtifactReference: repository.Name() + "@" + digest, MaxSignatureAttempts: maxSignatures,
	})
	if err != nil {
		// What is wrong with a signature is in its outcome.
		for _, outcome := range outcomes {
			err = errors.Join(err, outcome.Error)
		}
		return false, err
	}
	for _, outcome := range outcomes {
		if outcome.VerificationLevel != nil && outcome.VerificationLevel.Name == trustpolicy.LevelSkip.Name {
			return true, nil
		}
	}
	return false, nil
}
