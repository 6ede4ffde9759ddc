package decrypt_test

import (
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/decrypt"
	dt "github.com/sluice-gitops/sluice/services/builder/internal/decrypt/decrypttest"
)

// secretText must be in no message.
const secretText = "hunter2-hunter2"

func open(t *testing.T, entries map[string][]byte) *decrypt.Decryptor {
	t.Helper()
	d, err := decrypt.New(decrypt.Keys{Origin: "Secret ns/keys", Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFileFormats(t *testing.T) {
	key := dt.NewAge(t)
	to := dt.For{Age: []dt.Age{key}}
	yamlText := "user: admin\npass: hunter2\nport: 5432\nenabled: true\n"
	tests := []struct {
		reason, format, as, plain, want string
	}{
		{"yaml by its suffix", "yaml", "a.yaml", yamlText, yamlText},
		{"several documents", "yaml", "a.yml", "a: b\n---\nc: d\n", "a: b\n---\nc: d\n"},
		{"json by its suffix", "json", "a.json", `{"a":"b","n":9007199254740993}`, "{\n\t\"a\": \"b\",\n\t\"n\": 9007199254740993\n}\n"},
		{"json whose only field is data is still json", "json", "a.json", `{"data":"b"}`, "{\n\t\"data\": \"b\"\n}\n"},
		{"dotenv", "dotenv", "a.env", "A=hunter2\n# a comment\nB=x y\n", "A=hunter2\n# a comment\nB=x y\n"},
		{"dotenv by its content", "dotenv", "environment", "A=hunter2\n", "A=hunter2\n"},
		{"ini", "ini", "a.ini", "[db]\npass = hunter2\n", "[db]\npass = hunter2\n"},
		{"binary", "binary", "tls.key", "-----BEGIN\n\x00\xff-----\n", "-----BEGIN\n\x00\xff-----\n"},
		{"yaml that its reader knows as JSON", "yaml", ".dockerconfigjson", "auths:\n  r: x\n", "{\n\t\"auths\": {\n\t\t\"r\": \"x\"\n\t}\n}\n"},
		{"yaml under a name without suffix stays yaml", "yaml", "config", "a: b\n", "a: b\n"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			d := open(t, map[string][]byte{"x.agekey": key.Private()})
			sealed := dt.Encrypt(t, tt.format, tt.plain, to)
			if strings.Contains(sealed, "hunter2") {
				t.Fatal("the fixture is not encrypted")
			}
			got, err := d.File(tt.as, []byte(sealed))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsNotEncryptedStays(t *testing.T) {
	d := open(t, nil)
	for reason, body := range map[string]string{
		"plain yaml":                     "a: b\n",
		"text about sops":                "To decrypt use sops:\n  mac: ENC[\n",
		"a field of that name":           "sops: 12\n",
		"metadata deeper in a document":  "doc:\n  sops:\n    mac: ENC[AES256_GCM]\n",
		"JSON with another sops":         `{"sops": {"version": "1"}, "data": "x"}`,
		"JSON cut short":                 `{"sops": {"mac": "ENC["`,
		"an ini file of another program": "[db]\nname = sops\n",
		"nothing":                        "",
	} {
		got, err := d.File("x.yaml", []byte(body))
		if err != nil || string(got) != body {
			t.Errorf("%s: %q, %v", reason, got, err)
		}
	}
}

func TestKeys(t *testing.T) {
	one, two, other := dt.NewAge(t), dt.NewAge(t), dt.NewAge(t)
	pgp, pgp2 := dt.NewPGP(t), dt.NewPGP(t)
	both := append(append([]byte{}, one.Private()...), two.Private()...)
	blocks := append(append([]byte{}, pgp2.Private(t, "")...), pgp.Private(t, "")...)
	tests := []struct {
		reason  string
		to      dt.For
		entries map[string][]byte
		fails   string
	}{
		{"an age key", dt.For{Age: []dt.Age{one}}, map[string][]byte{"a.agekey": one.Private()}, ""},
		{"the second age key of an entry", dt.For{Age: []dt.Age{two}}, map[string][]byte{"a.agekey": both}, ""},
		{"the second entry", dt.For{Age: []dt.Age{two}}, map[string][]byte{"a.agekey": one.Private(), "b.agekey": two.Private()}, ""},
		{"one recipient of two", dt.For{Age: []dt.Age{other, two}}, map[string][]byte{"a.agekey": two.Private()}, ""},
		{"a PGP key", dt.For{PGP: []dt.PGP{pgp}}, map[string][]byte{"a.asc": pgp.Private(t, "")}, ""},
		{"the second PGP block of an entry", dt.For{PGP: []dt.PGP{pgp}}, map[string][]byte{"a.asc": blocks}, ""},
		{"encrypted for age and PGP, only PGP at hand", dt.For{Age: []dt.Age{one}, PGP: []dt.PGP{pgp}}, map[string][]byte{"a.asc": pgp.Private(t, "")}, ""},
		{"encrypted for age and PGP, only age at hand", dt.For{Age: []dt.Age{one}, PGP: []dt.PGP{pgp}}, map[string][]byte{"a.agekey": one.Private()}, ""},
		{"a cloud key beside an age key", dt.For{KMS: []string{arn}, Age: []dt.Age{one}}, map[string][]byte{"a.agekey": one.Private()}, ""},
		{"a part of the key from each group", dt.For{Groups: true, Age: []dt.Age{one}, PGP: []dt.PGP{pgp}},
			map[string][]byte{"a.agekey": one.Private(), "a.asc": pgp.Private(t, "")}, ""},
		{"a group without key", dt.For{Groups: true, Age: []dt.Age{one}, PGP: []dt.PGP{pgp}},
			map[string][]byte{"a.agekey": one.Private()}, "no key of Secret ns/keys opens it: add the private key of age age1"},
		{"another key", dt.For{Age: []dt.Age{one}}, map[string][]byte{"a.agekey": other.Private()}, "no key of Secret ns/keys opens it: add the private key of age age1"},
		{"no key", dt.For{PGP: []dt.PGP{pgp}}, nil, "add the private key of pgp " + pgp.Fingerprint()},
		{"only a cloud key", dt.For{KMS: []string{arn}}, map[string][]byte{"a.agekey": one.Private()}, "encrypted for kms " + arn + " only"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			d := open(t, tt.entries)
			got, err := d.File("a.env", []byte(dt.Encrypt(t, "dotenv", "A="+secretText+"\n", tt.to)))
			if tt.fails == "" {
				if err != nil || string(got) != "A="+secretText+"\n" {
					t.Fatalf("%q, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("got %v", err)
			}
			if errors.Is(err, decrypt.ErrNotServed) != (tt.to.KMS != nil) {
				t.Errorf("%v: only keys that no Secret can hold make it permanent", err)
			}
		})
	}
}

const arn = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"

func TestBadKeysAreNamedNotQuoted(t *testing.T) {
	age, pgp := dt.NewAge(t), dt.NewPGP(t)
	private := string(age.Private())
	tests := []struct{ reason, entry, value, want string }{
		{"text", "a.agekey", "nonsense", "spec.decryption: entry a.agekey of Secret ns/keys holds no age secret keys"},
		{"a damaged key", "a.agekey", private[:len(private)-5], "entry a.agekey"},
		{"a plugin, which would be a program", "a.agekey", "AGE-PLUGIN-X-1QQPQYXQ2", "entry a.agekey"},
		{"nothing", "a.agekey", "", "entry a.agekey"},
		{"text as PGP", "a.asc", "nonsense", "entry a.asc of Secret ns/keys holds no armored PGP key"},
		{"a key with a passphrase", "a.asc", string(pgp.Private(t, "x")), "remove the passphrase"},
		{"a damaged block", "a.asc", strings.Replace(string(pgp.Private(t, "")), "\n\n", "\n\nAAAA", 1), "entry a.asc"},
	}
	for _, tt := range tests {
		_, err := decrypt.New(decrypt.Keys{Origin: "Secret ns/keys", Entries: map[string][]byte{tt.entry: []byte(tt.value)}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v", tt.reason, err)
		}
		if err != nil && (strings.Contains(err.Error(), "SECRET-KEY-1Q") || strings.Contains(err.Error(), "nonsense")) {
			t.Errorf("%s: the message quotes the entry: %v", tt.reason, err)
		}
	}
	kept := decrypt.Select(map[string][]byte{"a.agekey": nil, "b.asc": nil, "sops.vault-token": nil, "other": nil}, decrypt.AgeSuffix)
	if diff := cmp.Diff(map[string][]byte{"a.agekey": nil}, kept); diff != "" {
		t.Error(diff)
	}
}

func TestDamage(t *testing.T) {
	key := dt.NewAge(t)
	to := dt.For{Age: []dt.Age{key}}
	sealed := dt.Encrypt(t, "yaml", "a: "+secretText+"\nb: other\n", to)
	part := dt.Encrypt(t, "yaml", "a: "+secretText+"\nopen: text\n", dt.For{Age: to.Age, Regex: "^a$"})
	lines := strings.SplitN(sealed, "\n", 3)
	tests := []struct{ reason, body, want string }{
		{"a value replaced by plain text", "a: " + secretText + "\n" + lines[1] + "\n" + lines[2], "its value at a is not as sops wrote it"},
		{"a value at another key", lines[0] + "\n" + strings.Replace(lines[0], "a:", "b:", 1) + "\n" + lines[2], "its value at b is not as sops wrote it"},
		{"a line removed", lines[0] + "\n" + lines[2], "its MAC does not fit"},
		{"an open value changed", strings.Replace(part, "open: text", "open: sesame", 1), "its MAC does not fit"},
		{"no list of keys", lines[0] + "\nsops:\n  mac: ENC[x]\n", "encrypt it again with sops"},
		{"metadata of the wrong type", lines[0] + "\nsops:\n  mac: ENC[x]\n  age: 12\n", "cannot be read as encrypted YAML"},
		{"duplicate fields", sealed + lines[0] + "\n", "cannot be read as encrypted YAML"},
		{"too large", sealed + strings.Repeat("#", 5<<20), "make it smaller"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			d := open(t, map[string][]byte{"x.agekey": key.Private()})
			_, err := d.File("a.yaml", []byte(tt.body))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("plain text in %v", err)
			}
		})
	}
}

func TestObjects(t *testing.T) {
	key, pgp := dt.NewAge(t), dt.NewPGP(t)
	age, asc := dt.For{Age: []dt.Age{key}}, dt.For{PGP: []dt.PGP{pgp}}
	fields := dt.For{Age: age.Age, Regex: "^(data|stringData)$"}
	secret := "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  namespace: ns\nstringData:\n  pass: " + secretText + "\n"
	encoded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	disabled := strings.Replace(secret, "  name: s\n", "  name: s\n  annotations:\n    kustomize.toolkit.fluxcd.io/decrypt: Disabled\n", 1)
	custom := "apiVersion: example.com/v1\nkind: App\nmetadata:\n  name: a\nspec:\n  replicas: 3\n  big: 9007199254740993\n  share: 0.5\n  flag: true\n  none: null\n  token: " + secretText + "\n"
	sealed := dt.Encrypt(t, "yaml", disabled, fields)
	tests := []struct {
		reason, object string
		edit           func(o map[string]any)
		want           string
	}{
		{"a plain object", secret, nil, secret},
		{"stringData of a Secret", dt.Encrypt(t, "yaml", secret, fields), nil, secret},
		{"the same, for PGP", dt.Encrypt(t, "yaml", secret, dt.For{PGP: asc.PGP, Regex: fields.Regex}), nil, secret},
		{"any kind of object, with numbers that are not encrypted", dt.Encrypt(t, "yaml", custom, dt.For{Age: age.Age, Regex: "^token$"}), nil, custom},
		{"any kind of object, as a whole", dt.Encrypt(t, "yaml", custom, age), nil, custom},
		{"what kustomize added to an object", dt.Encrypt(t, "yaml", secret, fields), func(o map[string]any) {
			m, _ := o["metadata"].(map[string]any)
			m["namespace"], m["labels"] = "elsewhere", map[string]any{"team": "x"}
		}, strings.Replace(secret, "namespace: ns\n", "namespace: elsewhere\n  labels: {team: x}\n", 1)},
		{"an object that opts out", sealed, nil, sealed},
		{"a value of a Secret that is a document",
			secretOf("a.yaml", encoded(dt.Encrypt(t, "yaml", "k: "+secretText+"\n", age))), nil, secretOf("a.yaml", encoded("k: "+secretText+"\n"))},
		{"a value that is a binary document", secretOf("key", encoded(dt.Encrypt(t, "binary", secretText, asc))), nil, secretOf("key", encoded(secretText))},
		{"a value that is plain", secretOf("key", encoded("text")), nil, secretOf("key", encoded("text"))},
		{"a value that is not base64", secretOf("key", "!"), nil, secretOf("key", "!")},
	}
	d := open(t, map[string][]byte{"x.agekey": key.Private(), "x.asc": pgp.Private(t, "")})
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			o := read(t, tt.object)
			if tt.edit != nil {
				tt.edit(o.Object)
			}
			if err := d.Objects([]render.Object{{Unstructured: o}}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(read(t, tt.want).Object, o.Object); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a plain value in the place of an encrypted one is refused by name", func(t *testing.T) {
		o := read(t, dt.Encrypt(t, "yaml", secret, fields))
		o.Object["stringData"] = map[string]any{"pass": secretText}
		err := d.Objects([]render.Object{{Origin: "app/s.yaml", Unstructured: o}})
		want := "decrypt Secret/ns/s from app/s.yaml: its value at stringData.pass is not as sops wrote it: encrypt it again with sops"
		if err == nil || err.Error() != want {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a damaged value of a Secret is named", func(t *testing.T) {
		document := strings.Replace(dt.Encrypt(t, "yaml", "k: x\nl: y\n", age), "k:", "z:", 1)
		err := d.Objects([]render.Object{{Unstructured: read(t, secretOf("a.yaml", encoded(document)))}})
		if err == nil || !strings.Contains(err.Error(), "decrypt Secret/s: data.a.yaml: its value at z") {
			t.Errorf("got %v", err)
		}
	})
}

func secretOf(name, value string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {" + name + ": '" + value + "'}\n"
}

func read(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(body); err != nil { // encrypted kinds are no kinds
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		u.Object = maps.Clone(o)
	}
	return u
}

func TestReveals(t *testing.T) {
	key := dt.NewAge(t)
	d := open(t, map[string][]byte{"x.agekey": key.Private()})
	to := dt.For{Age: []dt.Age{key}}
	if _, err := d.File("a.env", []byte(dt.Encrypt(t, "dotenv", "A=correct/horse\nB=ab\n", to))); err != nil {
		t.Fatal(err)
	}
	if _, err := d.File("b", []byte(dt.Encrypt(t, "binary", "staple", to))); err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString
	for text, want := range map[string]bool{
		"missing resource file.yaml":                                 false,
		"cannot parse 'A=correct/horse'":                             true,
		"half of it: horse":                                          true,
		"inside of another word: prefixhorse1":                       true,
		"a short one on its own: ab":                                 true,
		"a short one in another word: about":                         false,
		"in a Secret: " + encoded([]byte("staple")):                  true,
		"in a Secret: " + encoded([]byte("A=correct/horse\nB=ab\n")): true,
	} {
		if got := d.Reveals(text); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
	var none *decrypt.Decryptor
	if none.Reveals("anything") {
		t.Error("nothing was decrypted")
	}
}
