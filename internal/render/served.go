package render

// Served is what templates see of a cluster: its version and what it serves.
type Served struct {
	// Version is the API server's, such as v1.36.1; Major and Minor as it names them.
	Version string `json:"version"`
	Major   string `json:"major"`
	Minor   string `json:"minor"`
	// APIVersions are group/version and group/version/Kind of all that is served.
	APIVersions []string `json:"apiVersions"`
}
