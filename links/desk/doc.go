// Package desk is a link to desk phones that stand at another switch: each has, beside the account of its
// line there, one with us that serves only uaCSTA (ECMA TR/87). They register here, and each is the
// switching function of its own number.
package desk
