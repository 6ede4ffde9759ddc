package cluster

import (
	"fmt"
	"testing"

	"k8s.io/client-go/rest"
)

// Names of service accounts are a tenant's to choose, as many as it likes.
func TestClientsOfAccountsAreBounded(t *testing.T) {
	c, err := New(&rest.Config{Host: "https://127.0.0.1:1"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	as := func(name string) *Client {
		t.Helper()
		client, err := c.As("tenant", name)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	used := as("used")
	for n := range 2 * maxClients {
		as(fmt.Sprint("account-", n))
		if as("used") != used {
			t.Fatalf("a client that is used all the time was made anew after %d others", n+1)
		}
	}
	if kept := c.clients.Len(); kept != maxClients {
		t.Errorf("%d clients are kept, want %d", kept, maxClients)
	}
}
