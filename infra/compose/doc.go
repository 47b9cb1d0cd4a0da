// Package compose is a stack for Docker Compose: the development server, a runner in a container, and what it takes to see them
// at work. compose.yaml is the stack, demo the program that shows it.
package compose
