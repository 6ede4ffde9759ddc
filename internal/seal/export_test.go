package seal

// SealPacked seals bytes as if they were compressed already.
func SealPacked(k *Keyring, id Identity, contentID string, packed []byte) ([]byte, error) {
	return k.sealPacked(id, contentID, packed)
}
