// Package compose has a Docker Compose stack of the development server and a runner (compose.yaml), and a program that demonstrates it
// (demo).
package compose
