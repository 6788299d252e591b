// Package freeswitch is a link to FreeSWITCH over its event socket. It needs no module on
// FreeSWITCH. The link follows the channels by their events, keeps a model of the calls in
// terms of CSTA, and carries out services with FreeSWITCH's commands. [Link] implements
// proxy.Link; [LinkKind] registers its configuration.
package freeswitch
