// Package chartindex reads the index of a Helm repository: into the normalised form
// that becomes an artifact, and into a table small enough to keep in memory, from
// which chart versions are chosen.
//
// An index of 20,000 versions is read entry by entry, so that its memory is that of
// its text and the table, not that of a tree of every field.
package chartindex
