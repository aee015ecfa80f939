/** Makes all properties writable, for the code that owns the object. */
export type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
