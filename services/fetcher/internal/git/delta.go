package git

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

var errSizes = errors.New("a delta does not say how large its object is")

// sizes reads what a delta begins with: the sizes of the object that it is about, and of what it makes of that.
func sizes(delta []byte) (from, to uint64, commands []byte, err error) {
	from, n := binary.Uvarint(delta)
	if n <= 0 {
		return 0, 0, nil, errSizes
	}
	to, m := binary.Uvarint(delta[n:])
	if m <= 0 {
		return 0, 0, nil, errSizes
	}
	return from, to, delta[n+m:], nil
}

// patch makes an object of another one by a delta (Git's pack format), and takes no more memory than
// that object has.
func patch(base, delta []byte) ([]byte, error) {
	from, to, commands, err := sizes(delta)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", packfile.ErrInvalidDelta, err)
	case from != uint64(len(base)):
		return nil, packfile.ErrInvalidDelta
	case to > maxObject:
		return nil, errTooLarge
	}
	made := make([]byte, 0, to)
	for len(commands) > 0 {
		var piece []byte
		if piece, commands, err = command(base, commands); err != nil {
			return nil, err
		}
		if len(piece) > cap(made)-len(made) {
			return nil, packfile.ErrInvalidDelta
		}
		made = append(made, piece...)
	}
	if uint64(len(made)) != to {
		return nil, packfile.ErrInvalidDelta
	}
	return made, nil
}

// command returns what the first command of a delta adds, and those after it. One below 128 says how many
// bytes follow that are added. Of others, four bits say which bytes follow of the place where a copy begins,
// and three of how long it is.
func command(base, delta []byte) (piece, rest []byte, err error) {
	kind, delta := delta[0], delta[1:]
	switch {
	case kind == 0:
		return nil, nil, packfile.ErrDeltaCmd
	case kind < 128 && len(delta) < int(kind):
		return nil, nil, packfile.ErrInvalidDelta
	case kind < 128:
		return delta[:kind], delta[kind:], nil
	}
	var numbers [8]byte
	for bit := range 7 {
		switch {
		case kind>>bit&1 == 0:
		case len(delta) == 0:
			return nil, nil, packfile.ErrInvalidDelta
		default:
			numbers[bit], delta = delta[0], delta[1:]
		}
	}
	begin, size := binary.LittleEndian.Uint32(numbers[:4]), binary.LittleEndian.Uint32(numbers[4:])
	if size == 0 {
		size = 1 << 16
	}
	end := uint64(begin) + uint64(size)
	if end > uint64(len(base)) {
		return nil, nil, packfile.ErrInvalidDelta
	}
	return base[begin:end], delta, nil
}
