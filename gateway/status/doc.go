// Package status is the gateway's local HTTP interface: the JSON that the
// operator's page, the command line and other programs on the site's network
// read, and the two changes that it takes, STOP and resume (design.md 1.3).
//
// The control side publishes a Status to a Board, which never blocks it; all
// readers are served from there. Everything else is asked from the gateway
// through the small interfaces of this package.
package status
