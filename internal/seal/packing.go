package seal

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// packing compresses renders and expands them again. To make a coder costs more than to
// pack a small render, so coders are kept from one to the next. The zero value works.
type packing struct{ encoders, decoders sync.Pool }

func (p *packing) compress(plain []byte) ([]byte, error) {
	w, ok := p.encoders.Get().(*zstd.Encoder)
	if !ok {
		var err error
		w, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			return nil, fmt.Errorf("prepare compression: %w", err)
		}
	}
	defer p.encoders.Put(w)
	return w.EncodeAll(plain, nil), nil // EncodeAll alone starts nothing that Close would end
}

// expand is bounded: a holder of the key is trusted to seal, not to exhaust
// the memory of who opens. The size that the frame tells is what it has, or expanding it fails.
func (p *packing) expand(packed []byte, limit int) ([]byte, error) {
	var frame zstd.Header
	if err := frame.Decode(packed); err == nil && frame.HasFCS && frame.FrameContentSize > uint64(limit) {
		return nil, fmt.Errorf("more than %d bytes: %w", limit, ErrTooLarge)
	}
	r, ok := p.decoders.Get().(*zstd.Decoder)
	if !ok {
		var err error
		r, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(MaxPlain))
		if err != nil {
			return nil, fmt.Errorf("prepare decompression: %w", err)
		}
	}
	defer p.decoders.Put(r)
	plain, err := r.DecodeAll(packed, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) || len(plain) > limit {
		return nil, fmt.Errorf("more than %d bytes: %w", min(limit, MaxPlain), ErrTooLarge)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: decompress: %w", ErrFormat, err)
	}
	return plain, nil
}
