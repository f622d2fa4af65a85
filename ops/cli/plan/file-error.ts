/** What whoever wrote the file, or called the command, has to mend. */
export class FileError extends Error {}
