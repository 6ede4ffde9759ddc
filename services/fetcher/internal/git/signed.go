package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// maxSigned bounds a commit or a tag whose signature is wanted.
const maxSigned = 8 << 20

// Signed is what a signature was made over, byte for byte, and the signature in its
// armor; empty when there is none.
type Signed struct{ Payload, Signature []byte }

// Tag is a tag as a reference names it.
type Tag struct {
	// Name is that of the reference, without refs/tags/.
	Name string
	// Hash of the annotation, empty for a tag that is only a name.
	Hash string

	commit plumbing.Hash
	store  storer.EncodedObjectStorer
}

// String is the tag's name, with the hash of its annotation.
func (t *Tag) String() string {
	if t.Hash == "" {
		return t.Name
	}
	return t.Name + "@" + t.Hash
}

func openTag(store storer.EncodedObjectStorer, target Target) (*Tag, error) {
	t := &Tag{Name: target.tag, commit: plumbing.NewHash(target.Commit), store: store}
	if target.tagged.IsZero() {
		return t, nil
	}
	if err := store.HasEncodedObject(target.tagged); err != nil {
		return nil, fmt.Errorf("%w: read tag %s: %w", errBroken, target.tagged, err)
	}
	t.Hash = target.tagged.String()
	return t, nil
}

// Signed returns the tag's signature. A signed tag must have the name of its
// reference and stand for the commit: else one that was signed for something else
// could take its place.
func (t *Tag) Signed() (Signed, error) {
	if t.Hash == "" {
		return Signed{}, nil
	}
	hash := plumbing.NewHash(t.Hash)
	raw, err := rawObject(t.store, plumbing.TagObject, hash)
	if err != nil {
		return Signed{}, err
	}
	signed := splitTag(raw)
	want := fmt.Appendf(nil, "object %s\ntype commit\ntag %s\n", t.commit, t.Name)
	if len(signed.Signature) > 0 && !bytes.HasPrefix(signed.Payload, want) {
		return Signed{}, fmt.Errorf("the signed object has another name, or is not of commit %s", t.commit)
	}
	return signed, nil
}

// Signed returns the commit's signature.
func (c *Commit) Signed() (Signed, error) {
	raw, err := rawObject(c.store, plumbing.CommitObject, plumbing.NewHash(c.Hash))
	if err != nil {
		return Signed{}, err
	}
	signed, err := splitCommit(raw)
	if err == nil && !bytes.HasPrefix(signed.Payload, []byte("tree "+c.tree.String()+"\n")) {
		err = errors.New("the commit does not begin with its tree")
	}
	return signed, err
}

func rawObject(store storer.EncodedObjectStorer, kind plumbing.ObjectType, hash plumbing.Hash) ([]byte, error) {
	obj, err := store.EncodedObject(kind, hash)
	if err != nil {
		return nil, fmt.Errorf("%w: read %s %s: %w", errBroken, kind, hash, err)
	}
	if obj.Size() > maxSigned {
		return nil, fmt.Errorf("%s %s has more than %d bytes: %w", kind, hash, maxSigned, ErrLimit)
	}
	r, err := obj.Reader()
	if err != nil {
		return nil, fmt.Errorf("%w: read %s %s: %w", errBroken, kind, hash, err)
	}
	defer func() { _ = r.Close() }() // it was only read
	raw, err := io.ReadAll(r)
	if err != nil || plumbing.ComputeHash(kind, raw) != hash {
		return nil, fmt.Errorf("%w: %s %s is damaged: %w", errBroken, kind, hash, errors.Join(err, plumbing.ErrInvalidType))
	}
	return raw, nil
}

// splitCommit takes the headers that hold signatures out of a commit, which is what
// they were made over.
func splitCommit(raw []byte) (Signed, error) {
	var s Signed
	found := 0
	header := []byte(nil) // of the line before
	for rest := raw; len(rest) > 0; {
		line := rest
		if end := bytes.IndexByte(rest, '\n'); end >= 0 {
			line = rest[:end+1]
		}
		if len(line) == 1 { // the message follows
			s.Payload = append(s.Payload, rest...)
			break
		}
		rest = rest[len(line):]
		var text []byte
		if line[0] == ' ' { // goes on with the header before
			text = line[1:]
		} else {
			header, text, _ = bytes.Cut(line, []byte(" "))
			if string(header) == "gpgsig" {
				found++
			}
		}
		switch string(header) {
		case "gpgsig":
			s.Signature = append(s.Signature, text...)
		case "gpgsig-sha256":
		default:
			s.Payload = append(s.Payload, line...)
		}
	}
	if found > 1 {
		return Signed{}, errors.New("the commit has more than one signature")
	}
	return s, nil
}

// splitTag separates a tag from the signature at its end.
func splitTag(raw []byte) Signed {
	at := -1
	for _, begin := range []string{"-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP MESSAGE-----", "-----BEGIN SSH SIGNATURE-----"} {
		if found := bytes.LastIndex(raw, []byte("\n"+begin)); found >= 0 {
			at = max(at, found+1)
		}
	}
	if at < 0 {
		return Signed{Payload: raw}
	}
	return Signed{Payload: raw[:at], Signature: raw[at:]}
}
