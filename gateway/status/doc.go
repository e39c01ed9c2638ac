// Package status is the gateway's local HTTP interface: the JSON that the
// operator's page, the command line and other programs on the site's network
// read, and the two changes that it takes, STOP and resume (design.md 1.3).
// The control side publishes a Status to a Board, which never blocks it.
//
// Who may do what: with a token set, site data needs "Authorization: Bearer
// TOKEN" or the cookie that POST /api/v1/login gives the page for it; the
// page's files, /healthz and /readyz hold no site data and need nothing. A
// change is taken only where Host and Origin are the gateway's own; reads are
// not judged by Host. Wrong tokens are looked at once a second.
package status
