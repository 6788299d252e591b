// Package soap is CSTA over SOAP (ECMA-348): envelopes of SOAP 1.1 and 1.2 with WS-Addressing around CSTA messages,
// faults, WS-Eventing, and the description of the service in WSDL. It knows neither HTTP nor the core.
package soap
