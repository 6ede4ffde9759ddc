package decrypt

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/config"
	dotenvstore "github.com/getsops/sops/v3/stores/dotenv"
	inistore "github.com/getsops/sops/v3/stores/ini"
	jsonstore "github.com/getsops/sops/v3/stores/json"
	yamlstore "github.com/getsops/sops/v3/stores/yaml"
)

// format is a way in which SOPS writes a document.
type format string

// The formats of SOPS. A binary document is JSON that wraps any bytes.
const (
	formatYAML   format = "YAML"
	formatJSON   format = "JSON"
	formatDotenv format = "dotenv"
	formatINI    format = "INI"
	formatBinary format = "binary"
)

// store reads an encrypted document and writes a plain one.
type store interface {
	LoadEncryptedFile(in []byte) (sops.Tree, error)
	EmitPlainFile(in sops.TreeBranches) ([]byte, error)
}

func (f format) store() store {
	c := config.NewStoresConfig()
	switch f {
	case formatYAML:
		return yamlstore.NewStore(&c.YAML)
	case formatJSON:
		return jsonstore.NewStore(&c.JSON)
	case formatDotenv:
		return dotenvstore.NewStore(&c.Dotenv)
	case formatINI:
		return inistore.NewStore(&c.INI)
	case formatBinary:
	}
	return jsonstore.NewBinaryStore(&c.JSONBinary)
}

// dockerConfig is the entry of a Secret that is JSON although its name does not
// say so.
const dockerConfig = ".dockerconfigjson"

// byName is the format that a name promises; binary when it promises none.
func byName(name string) format {
	for suffix, f := range map[string]format{
		".yaml": formatYAML, ".yml": formatYAML, ".json": formatJSON, dockerConfig: formatJSON,
		".env": formatDotenv, ".ini": formatINI,
	} {
		if strings.HasSuffix(name, suffix) {
			return f
		}
	}
	return formatBinary
}

// What an encrypted document has at the start of a line.
var (
	yamlBlock   = regexp.MustCompile(`(?m)^sops:\s*$`)
	yamlMAC     = regexp.MustCompile(`(?m)^\s+["']?mac["']?:\s+["']?ENC\[`)
	dotenvMAC   = regexp.MustCompile(`(?m)^sops_mac=ENC\[`)
	iniSection  = regexp.MustCompile(`(?m)^\[sops\]`)
	marker      = []byte("sops")
	jsonOpening = []byte("{")
)

// detect says in which format body is encrypted; ok is false when it is not. name
// tells a binary document from a JSON one that looks the same.
func detect(name string, body []byte) (f format, ok bool) {
	if !bytes.Contains(body, marker) {
		return "", false
	}
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(body), jsonOpening):
		return detectJSON(name, body)
	case dotenvMAC.Match(body):
		return formatDotenv, true
	case iniSection.Match(body):
		return formatINI, true
	case yamlBlock.Match(body) && yamlMAC.Match(body):
		return formatYAML, true
	}
	return "", false
}

func detectJSON(name string, body []byte) (format, bool) {
	var document map[string]json.RawMessage
	if json.Unmarshal(body, &document) != nil {
		return "", false
	}
	var metadata struct {
		MAC string `json:"mac"`
	}
	if json.Unmarshal(document["sops"], &metadata) != nil || metadata.MAC == "" {
		return "", false
	}
	var data string
	wrapped := len(document) == 2 && json.Unmarshal(document["data"], &data) == nil
	if wrapped && byName(name) == formatBinary {
		return formatBinary, true
	}
	return formatJSON, true
}
