// Package kind describes the kinds of links and fronts: their names, their settings in the configuration, how these are
// checked, and how a link or a front is built from them. Each package of a link or a front has its kind; package
// internal/daemon lists them all. HACKING.md has the steps to add one.
package kind
