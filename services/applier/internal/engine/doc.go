// Package engine makes a cluster equal to a list of objects: server-side apply in
// ordered stages, takeover from kubectl, recreation on immutable fields, and
// deletion of what left the list. It sends no request about an object that the
// live table knows to be unchanged.
package engine
