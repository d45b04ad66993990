// Package pair brings clients and workers together that both connect to the gateway: each client is paired with one worker
// for as long as it is connected, and bytes go both ways, untouched, with any security mechanism and without any key here.
package pair
