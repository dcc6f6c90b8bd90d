// @ts-check
// Why a request failed.

/** A failure with the server's code and message, or with the code `UNREACHABLE`. */
export class ApiError extends Error {
	/** @param {string} code @param {string} message */
	constructor(code, message) {
		super(message);
		this.code = code;
		/** Whether the next attempt may succeed. */
		this.isPassing = ["UNREACHABLE", "OVERLOADED", "RATE_LIMITED", "INTERNAL"].includes(code);
	}
}

/** Throws the error as it is, or as `UNREACHABLE`. @returns {never} */
export function unreachable(error) {
	throw error instanceof ApiError ? error : new ApiError("UNREACHABLE", "The server does not answer.");
}
