// Package kind says what a kind of link is: its name, its settings in the configuration, how they are
// checked, and how a link is made of them. The package of a link has its kind; internal/daemon has the list of
// all of them. HACKING.md has the steps to add one.
package kind
