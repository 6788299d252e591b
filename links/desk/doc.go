// Package desk is a link to desk phones of another switch. Each phone has two accounts: one at that
// switch, for its calls, and one here, for uaCSTA (ECMA TR/87) alone. It registers here, and is the
// switching function of its own number.
package desk
