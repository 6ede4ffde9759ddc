// Package pack turns files into artifacts: tar archives, compressed, that are the
// same bytes for the same files, without what ignore rules leave out.
package pack
