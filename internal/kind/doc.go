// Package kind says what a kind of link and a kind of front are: a name, settings in the configuration, how these are
// checked, and how a link or a front is made of them. The package of a link has its kind, as that of a front has; the
// lists of all of them are in internal/daemon. HACKING.md has the steps to add one.
package kind
