// Package deploy tests what a platform team applies: deploy/kubernetes on a real API
// server, and sluice with exactly the rights it grants.
package deploy
