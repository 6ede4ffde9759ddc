// Package livestate knows what the objects in a cluster look like without asking.
// It watches the metadata of every object that carries an owner label, keeps a
// small record of each, remembers what the applier last wrote, and tells a foreign
// change from noise.
package livestate
